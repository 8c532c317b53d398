// Drives datapath_bench: fills and reads its buffers and runs instructions on its two units.

#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "Vdut.h"

namespace {

constexpr int kInstructionBytes = 64;
constexpr int kReadCycles = 2;

// Ports are scalars or little-endian arrays of 32-bit words, by their width.
template <typename Port>
void put(Port& port, const uint8_t* bytes, size_t count) {
  std::memcpy(&port, bytes, count);
}

template <typename Port>
void get(const Port& port, uint8_t* bytes, size_t count) {
  std::memcpy(bytes, &port, count);
}

// Words of the activation buffer that random load writes and store reads may touch.
struct Traffic {
  int first;
  int words;
  uint32_t seed;
};

struct Bench {
  VerilatedContext context;
  Vdut dut{&context};
  size_t word_bytes;
  size_t sum_bytes;
  uint64_t cycle = 0;

  Bench(int lanes, int groups) : word_bytes(lanes), sum_bytes(4 * lanes * groups) {
    dut.clk_i = 0;
    reset();
  }

  void reset() {
    dut.compute_valid_i = dut.vector_valid_i = 0;
    dut.lw_valid_i = dut.sr_valid_i = dut.ww_valid_i = 0;
    dut.poke_valid_i = dut.peek_en_i = 0;
    dut.rst_ni = 0;
    for (int i = 0; i < 4; ++i) tick();
    dut.rst_ni = 1;
    settle();
  }

  void settle() { dut.eval(); }

  void tick() {
    dut.clk_i = 1;
    dut.eval();
    dut.clk_i = 0;
    dut.eval();
    ++cycle;
  }
};

// A unit's instructions in order, with the cycles of their handshakes.
struct Queue {
  const uint8_t* instructions;
  int count;
  uint64_t* accepted;
  uint64_t* retired;
  int next = 0;
  int done = 0;
};

// Random accesses of the lower-priority clients, checked against a copy of the words they own.
class Background {
 public:
  Background(Bench& bench, const Traffic& traffic, const uint8_t* initial)
      : bench_(bench), traffic_(traffic), random_(traffic.seed),
        copy_(initial, initial + traffic.words * bench.word_bytes) {}

  void drive() {
    if (traffic_.words == 0) return;
    Vdut& dut = bench_.dut;
    if (!dut.lw_valid_i && (random_() & 1)) {
      dut.lw_valid_i = 1;
      lw_ = random_() % traffic_.words;
      data_.resize(bench_.word_bytes);
      for (uint8_t& byte : data_) byte = random_();
      dut.lw_addr_i = traffic_.first + lw_;
      put(dut.lw_data_i, data_.data(), data_.size());
    }
    if (!dut.sr_valid_i && (random_() & 1)) {
      dut.sr_valid_i = 1;
      sr_ = random_() % traffic_.words;
      dut.sr_addr_i = traffic_.first + sr_;
    }
  }

  // Called with settled outputs, before the clock edge that ends the cycle.
  void observe() {
    Vdut& dut = bench_.dut;
    const size_t width = bench_.word_bytes;
    std::vector<uint8_t> arriving = std::move(flight_[1]);
    flight_[1] = std::move(flight_[0]);
    flight_[0].clear();
    if (dut.sr_data_valid_o != !arriving.empty()) ++errors;
    if (!arriving.empty()) {
      std::vector<uint8_t> got(width);
      get(dut.sr_data_o, got.data(), width);
      if (got != arriving) ++errors;
    }
    sr_moved_ = dut.sr_valid_i && dut.sr_ready_o;
    lw_moved_ = dut.lw_valid_i && dut.lw_ready_o;
    if (sr_moved_) flight_[0].assign(&copy_[sr_ * width], &copy_[sr_ * width] + width);
    if (lw_moved_) std::memcpy(&copy_[lw_ * width], data_.data(), width);
  }

  void release() {
    if (sr_moved_) bench_.dut.sr_valid_i = 0;
    if (lw_moved_) bench_.dut.lw_valid_i = 0;
  }

  void finish(uint8_t* words) {
    bench_.dut.sr_valid_i = bench_.dut.lw_valid_i = 0;
    std::memcpy(words, copy_.data(), copy_.size());
  }

  int errors = 0;

 private:
  Bench& bench_;
  Traffic traffic_;
  std::mt19937 random_;
  std::vector<uint8_t> copy_;
  std::vector<uint8_t> data_;
  std::vector<uint8_t> flight_[kReadCycles];
  int lw_ = 0;
  int sr_ = 0;
  bool lw_moved_ = false;
  bool sr_moved_ = false;
};

template <typename Valid, typename Port>
void offer(const Queue& queue, bool now, Valid& valid, Port& port) {
  valid = queue.next < queue.count && (valid || now);
  if (valid) put(port, queue.instructions + queue.next * kInstructionBytes, kInstructionBytes);
}

void account(Queue& queue, uint64_t cycle, bool accepted, bool retired) {
  if (accepted) queue.accepted[queue.next++] = cycle;
  if (retired) queue.retired[queue.done++] = cycle;
}

}  // namespace

extern "C" {

void* bench_new(int lanes, int groups) { return new Bench(lanes, groups); }

void bench_delete(void* handle) { delete static_cast<Bench*>(handle); }

void bench_reset(void* handle) { static_cast<Bench*>(handle)->reset(); }

void bench_write_activations(void* handle, int address, const uint8_t* words, int count) {
  Bench& bench = *static_cast<Bench*>(handle);
  for (int i = 0; i < count; ++i) {
    bench.dut.lw_valid_i = 1;
    bench.dut.lw_addr_i = address + i;
    put(bench.dut.lw_data_i, words + i * bench.word_bytes, bench.word_bytes);
    bench.tick();
  }
  bench.dut.lw_valid_i = 0;
}

void bench_read_activations(void* handle, int address, uint8_t* words, int count) {
  Bench& bench = *static_cast<Bench*>(handle);
  for (int i = 0; i < count + kReadCycles; ++i) {
    bench.dut.sr_valid_i = i < count;
    bench.dut.sr_addr_i = address + (i < count ? i : 0);
    bench.settle();
    const int back = i - kReadCycles;
    if (back >= 0) get(bench.dut.sr_data_o, words + back * bench.word_bytes, bench.word_bytes);
    bench.tick();
  }
}

void bench_write_weights(void* handle, int address, const uint8_t* words, int count) {
  Bench& bench = *static_cast<Bench*>(handle);
  for (int i = 0; i < count; ++i) {
    bench.dut.ww_valid_i = 1;
    bench.dut.ww_addr_i = address + i;
    put(bench.dut.ww_data_i, words + i * bench.word_bytes, bench.word_bytes);
    bench.tick();
  }
  bench.dut.ww_valid_i = 0;
}

void bench_write_sums(void* handle, const uint8_t* words, int count) {
  Bench& bench = *static_cast<Bench*>(handle);
  for (int i = 0; i < count + kReadCycles; ++i) {
    bench.dut.poke_valid_i = i < count;
    bench.dut.poke_addr_i = i < count ? i : 0;
    if (i >= kReadCycles) {
      put(bench.dut.poke_sums_i, words + (i - kReadCycles) * bench.sum_bytes, bench.sum_bytes);
    }
    bench.tick();
  }
  for (int i = 0; i < kReadCycles; ++i) bench.tick();
}

void bench_read_sums(void* handle, uint8_t* words, int count) {
  Bench& bench = *static_cast<Bench*>(handle);
  for (int i = 0; i < count + kReadCycles; ++i) {
    bench.dut.peek_en_i = i < count;
    bench.dut.peek_addr_i = i < count ? i : 0;
    bench.settle();
    const int back = i - kReadCycles;
    if (back >= 0) get(bench.dut.peek_data_o, words + back * bench.sum_bytes, bench.sum_bytes);
    bench.tick();
  }
}

// Runs both units' instructions.  With `jitter` not zero valid and retire_ready are random, else
// always high.  `background` holds the words the traffic owns, before and after.  Returns the
// errors the traffic saw, or -1 when `limit` cycles did not suffice.
int bench_run(void* handle, const uint8_t* compute, int computes, uint64_t* compute_cycles,
              const uint8_t* vector, int vectors, uint64_t* vector_cycles, uint32_t jitter,
              int first, int words, uint8_t* background, uint32_t seed, int limit) {
  Bench& bench = *static_cast<Bench*>(handle);
  Vdut& dut = bench.dut;
  Queue queue[2] = {{compute, computes, compute_cycles, compute_cycles + computes},
                    {vector, vectors, vector_cycles, vector_cycles + vectors}};
  Background traffic(bench, {first, words, seed}, background);
  std::mt19937 random(jitter);
  const auto chance = [&] { return jitter == 0 || random() % 4 == 0; };
  while (queue[0].done < computes || queue[1].done < vectors) {
    if (limit-- == 0) return -1;
    offer(queue[0], chance(), dut.compute_valid_i, dut.compute_i);
    offer(queue[1], chance(), dut.vector_valid_i, dut.vector_i);
    dut.compute_retire_i = chance();
    dut.vector_retire_i = chance();
    traffic.drive();
    bench.settle();
    const bool compute_moved = dut.compute_valid_i && dut.compute_ready_o;
    const bool vector_moved = dut.vector_valid_i && dut.vector_ready_o;
    account(queue[0], bench.cycle, compute_moved, dut.compute_retire_i && dut.compute_retire_o);
    account(queue[1], bench.cycle, vector_moved, dut.vector_retire_i && dut.vector_retire_o);
    traffic.observe();
    bench.tick();
    traffic.release();
    if (compute_moved) dut.compute_valid_i = 0;
    if (vector_moved) dut.vector_valid_i = 0;
  }
  dut.compute_retire_i = dut.vector_retire_i = 0;
  traffic.finish(background);
  for (int i = 0; i < kReadCycles; ++i) bench.tick();
  return traffic.errors;
}

// Offers one instruction to each unit again and again for `cycles`, and stops amid them.
void bench_start(void* handle, const uint8_t* compute, const uint8_t* vector, int cycles) {
  Bench& bench = *static_cast<Bench*>(handle);
  put(bench.dut.compute_i, compute, kInstructionBytes);
  put(bench.dut.vector_i, vector, kInstructionBytes);
  bench.dut.compute_valid_i = bench.dut.vector_valid_i = 1;
  for (int i = 0; i < cycles; ++i) bench.tick();
}

int bench_busy(void* handle) {
  Bench& bench = *static_cast<Bench*>(handle);
  return bench.dut.compute_busy_o | bench.dut.vector_busy_o << 1;
}

}  // extern "C"
