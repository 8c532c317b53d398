// Runs jobs on a Verilated npu: memory, registers, clock, and what the hardware reports.
//
// Built together with the Verilated model (class Vdut) into a shared library; the functions below
// are its interface.  A driver belongs to one thread at a time.  A model with tracing (VM_TRACE) has
// an observer too.

#include <cstdint>
#include <memory>
#include <vector>

#include "Vdut.h"
#include "axi_lite.h"
#include "axi_memory.h"
#include "npu_tap.h"
#include "verilated.h"
#if VM_TRACE
#include "npu_observer.h"
#endif

namespace {

using intaglio::AxiLiteMaster;
using intaglio::AxiMemory;
using intaglio::Stalls;
using intaglio::Violations;

constexpr int kResetCycles = 8;
constexpr uint64_t kAccessCycles = 10000;  // a register access that takes longer is a hang

enum RunResult { kRunning = 0, kInterrupt = 1, kViolation = 2 };

class Driver {
 public:
  Driver(uint64_t base, uint64_t bytes, uint32_t latency, uint32_t stall_permille, uint32_t seed)
      : stalls_(seed, stall_permille),
        memory_(base, bytes, latency, &stalls_, &violations_),
        registers_(&stalls_, &violations_) {
    context_.randReset(2);
    context_.randSeed(static_cast<int>(seed % 0x7FFFFFFFU) + 1);
#if VM_TRACE
    context_.traceEverOn(true);
#endif
    Verilated::threadContextp(&context_);
    dut_ = std::make_unique<Vdut>(&context_);
    tap_ = std::make_unique<intaglio::Tap>(*dut_);
#if VM_TRACE
    observer_ = std::make_unique<intaglio::NpuObserver<Vdut>>(&context_, dut_.get());
#endif
    reset();
  }

  // A model leaves the list of its thread's context, which may be that of another driver.
  ~Driver() {
    Verilated::threadContextp(&context_);
    dut_->final();
  }

  bool access() {
    const uint64_t limit = now_ + kAccessCycles;
    while (registers_.busy() && now_ < limit && !violations_.any()) cycle();
    return !registers_.busy();
  }

  bool write_register(uint32_t address, uint32_t value) {
    registers_.start_write(address, value);
    return access() && registers_.response() == 0;
  }

  bool read_register(uint32_t address, uint32_t* value) {
    registers_.start_read(address);
    if (!access() || registers_.response() != 0) return false;
    *value = registers_.value();
    return true;
  }

  RunResult run(uint64_t cycles) {
    for (uint64_t i = 0; i < cycles; ++i) {
      if (dut_->irq_o) return kInterrupt;
      cycle();
      if (violations_.any()) return kViolation;
    }
    return dut_->irq_o ? kInterrupt : kRunning;
  }

  void forget_marks() {
    mark_layers_.clear();
    mark_cycles_.clear();
  }

  uint64_t now() const { return now_; }
  intaglio::Tap& tap() { return *tap_; }
  AxiMemory<Vdut>& memory() { return memory_; }
  const Violations& violations() const { return violations_; }
  const std::vector<uint32_t>& mark_layers() const { return mark_layers_; }
  const std::vector<uint64_t>& mark_cycles() const { return mark_cycles_; }
#if VM_TRACE
  intaglio::NpuObserver<Vdut>& observer() { return *observer_; }
#endif

 private:
  void reset() {
    dut_->rst_ni = 0;
    for (int i = 0; i < kResetCycles; ++i) {
      settle();
      if (i > 0) memory_.check_reset(*dut_, now_);
      edge();
    }
    dut_->rst_ni = 1;
  }

  void settle() {
    memory_.drive(dut_.get(), now_);
    registers_.drive(dut_.get());
    dut_->clk_i = 0;
    dut_->eval();
  }

  void edge() {
    dut_->clk_i = 1;
    dut_->eval();
    ++now_;
  }

  void cycle() {
    settle();
    memory_.sample(*dut_, now_);
    registers_.sample(*dut_, now_);
    if (dut_->mark_valid_o) {
      mark_layers_.push_back(dut_->mark_layer_o);
      mark_cycles_.push_back(now_);
    }
    tap_->sample();
#if VM_TRACE
    observer_->before_edge(now_);
    edge();
    observer_->after_edge(now_ - 1);
#else
    edge();
#endif
  }

  VerilatedContext context_;
  Violations violations_;
  Stalls stalls_;
  AxiMemory<Vdut> memory_;
  AxiLiteMaster<Vdut> registers_;
  std::unique_ptr<Vdut> dut_;
  std::unique_ptr<intaglio::Tap> tap_;
#if VM_TRACE
  std::unique_ptr<intaglio::NpuObserver<Vdut>> observer_;
#endif
  uint64_t now_ = 0;
  std::vector<uint32_t> mark_layers_;
  std::vector<uint64_t> mark_cycles_;
};

}  // namespace

extern "C" {

// A driver whose memory holds `bytes` bytes from address `base` on, or null without memory.
// `stall_permille` is the chance of a stall on every channel and cycle; `seed` draws the stalls and
// the content of every register and memory that reset leaves alone.
void* npu_create(uint64_t base, uint64_t bytes, uint32_t latency, uint32_t stall_permille,
                 uint32_t seed) {
  try {
    return new Driver(base, bytes, latency, stall_permille, seed);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

void npu_destroy(void* driver) { delete static_cast<Driver*>(driver); }

uint8_t* npu_memory(void* driver) { return static_cast<Driver*>(driver)->memory().content(); }

// Register accesses; 1 when answered without an error.
int npu_write_register(void* driver, uint32_t address, uint32_t value) {
  return static_cast<Driver*>(driver)->write_register(address, value);
}

int npu_read_register(void* driver, uint32_t address, uint32_t* value) {
  return static_cast<Driver*>(driver)->read_register(address, value);
}

// Runs at most `cycles` cycles; a RunResult.
int npu_run(void* driver, uint64_t cycles) { return static_cast<Driver*>(driver)->run(cycles); }

uint64_t npu_now(void* driver) { return static_cast<Driver*>(driver)->now(); }

// Whether no memory transaction is under way.
int npu_memory_idle(void* driver) { return static_cast<Driver*>(driver)->memory().idle(); }

// Layers that finished since npu_forget_marks, and the cycle of each.
uint64_t npu_mark_count(void* driver) { return static_cast<Driver*>(driver)->mark_layers().size(); }
const uint32_t* npu_mark_layers(void* driver) {
  return static_cast<Driver*>(driver)->mark_layers().data();
}
const uint64_t* npu_mark_cycles(void* driver) {
  return static_cast<Driver*>(driver)->mark_cycles().data();
}
void npu_forget_marks(void* driver) { static_cast<Driver*>(driver)->forget_marks(); }

// Broken protocol rules, in the order they were seen (the first 16).
uint64_t npu_violation_count(void* driver) {
  return static_cast<Driver*>(driver)->violations().size();
}
const char* npu_violation(void* driver, uint64_t index) {
  return static_cast<Driver*>(driver)->violations().at(index);
}

// Records the words that the vector unit writes, from none on; 0 when the model does not show them.
int npu_tap(void* driver) {
  intaglio::Tap& tap = static_cast<Driver*>(driver)->tap();
  tap.record(tap.present());
  return tap.present();
}
uint64_t npu_tap_bytes(void* driver) { return static_cast<Driver*>(driver)->tap().words().size(); }
uint64_t npu_tap_width(void* driver) { return static_cast<Driver*>(driver)->tap().width(); }
const uint8_t* npu_tap_data(void* driver) {
  return static_cast<Driver*>(driver)->tap().words().data();
}

#if VM_TRACE
// What the units do from now on, or no longer, as lists of events by EventKind.
void npu_observe(void* driver, int on) { static_cast<Driver*>(driver)->observer().record(on != 0); }
uint64_t npu_event_count(void* driver, uint32_t kind) {
  return static_cast<Driver*>(driver)->observer().events(kind).cycles.size();
}
uint64_t npu_event_width(void* driver, uint32_t kind) {
  return static_cast<Driver*>(driver)->observer().events(kind).width;
}
const uint64_t* npu_event_cycles(void* driver, uint32_t kind) {
  return static_cast<Driver*>(driver)->observer().events(kind).cycles.data();
}
const uint64_t* npu_event_addresses(void* driver, uint32_t kind) {
  return static_cast<Driver*>(driver)->observer().events(kind).addresses.data();
}
const uint8_t* npu_event_data(void* driver, uint32_t kind) {
  return static_cast<Driver*>(driver)->observer().events(kind).data.data();
}
void npu_forget_events(void* driver, uint32_t kind) {
  static_cast<Driver*>(driver)->observer().events(kind).clear();
}

// A waveform of the cycles `first` to `last` at `path`, in which cycle `origin` is at time 0.
void npu_trace(void* driver, const char* path, uint64_t first, uint64_t last, uint64_t origin) {
  static_cast<Driver*>(driver)->observer().trace(path, first, last, origin);
}
#endif

}  // extern "C"
