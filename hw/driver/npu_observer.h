// Watches the units of a Verilated npu: every word they write, where, and in which cycle; and dumps
// a window of cycles as a waveform.
//
// The model must be translated with tracing and with the signals of npu_observer.vlt public.

#ifndef INTAGLIO_NPU_OBSERVER_H
#define INTAGLIO_NPU_OBSERVER_H

#include <array>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "verilated.h"
#include "verilated_sym_props.h"
#include "verilated_syms.h"
#include "verilated_vcd_c.h"

namespace intaglio {

// A public signal of the design, read where the model keeps it.
class Signal {
 public:
  Signal(const VerilatedScope* scope, const char* name) {
    const VerilatedVar* variable = scope->varFind(name);
    if (variable == nullptr) throw std::runtime_error(std::string("no public signal ") + name);
    bytes_ = static_cast<const uint8_t*>(variable->datap());
    size_ = variable->entSize();
    width_ = (variable->entBits() + 7) / 8;
  }

  // Values of up to 64 bits.
  uint64_t value() const {
    uint64_t result = 0;
    std::memcpy(&result, bytes_, size_ < sizeof result ? size_ : sizeof result);
    return result;
  }
  const uint8_t* bytes() const { return bytes_; }
  size_t width() const { return width_; }

 private:
  const uint8_t* bytes_;
  size_t size_;
  size_t width_;
};

// Events of one kind: cycle and address of each, and `width` bytes of data each.
struct EventList {
  size_t width = 0;
  std::vector<uint64_t> cycles;
  std::vector<uint64_t> addresses;
  std::vector<uint8_t> data;

  void add(uint64_t cycle, uint64_t address) {
    cycles.push_back(cycle);
    addresses.push_back(address);
  }
  void add(uint64_t cycle, uint64_t address, const uint8_t* bytes) {
    add(cycle, address);
    data.insert(data.end(), bytes, bytes + width);
  }
  void clear() {
    cycles.clear();
    addresses.clear();
    data.clear();
  }
};

enum EventKind {
  kActivationLoad,    // words of the activation buffer, written by load
  kWeightLoad,        // words of the weight buffer
  kAccumulate,        // words of the accumulators, written by compute
  kActivationVector,  // words of the activation buffer, written by vector
  kActivationWindow,  // words of the activation buffer, written by window
  kMemoryStore,       // beats of memory, written by store, addresses as on the bus
  kAccumulatorRead,   // words of the accumulators as vector gets them
  kArrayRead,         // elements from which compute reads vectors; no data
  kWeightFill,        // tile rows that compute brings into the array; no data
  kRetire,            // retirements; the address is the unit
  kEventKinds
};

// Records events while `record(true)`; `Dut` is the Verilated model.
template <typename Dut>
class NpuObserver {
 public:
  NpuObserver(VerilatedContext* context, Dut* dut)
      : dut_(dut), top_(find(context, "npu_top", "retired")),
        core_(find(context, "npu_core", "vw_valid")),
        accumulators_(find(context, "npu_accumulators", "sum_q")) {
    const std::array<size_t, kEventKinds> widths = {
        load_data_.width(), weight_data_.width(), sums_.width(), vector_data_.width(),
        window_data_.width(), sizeof(Dut::m_axi_wdata), read_sums_.width(), 0, 0, 0};
    for (size_t kind = 0; kind < kEventKinds; ++kind) events_[kind].width = widths[kind];
  }

  void record(bool on) { recording_ = on; }
  EventList& events(uint32_t kind) { return events_.at(kind); }

  // A waveform of the cycles `first` to `last`, in which cycle `origin` is at time 0.
  void trace(const std::string& path, uint64_t first, uint64_t last, uint64_t origin) {
    path_ = path;
    first_ = first;
    last_ = last;
    origin_ = origin;
    waveform_ = std::make_unique<VerilatedVcdC>();
    dut_->trace(waveform_.get(), kTraceLevels);
  }

  // In every cycle: before the clock edge, all signals being settled, and after it.
  void before_edge(uint64_t now) {
    if (recording_) sample(now);
    dump(now, 0);
  }
  void after_edge(uint64_t now) {
    dump(now, kHalfPeriod);
    if (waveform_ && now == last_) waveform_->close();
  }

 private:
  static constexpr int kTraceLevels = 99;
  static constexpr uint64_t kHalfPeriod = 5;
  static constexpr uint64_t kReadCycles = 2;
  static constexpr uint64_t kUnits = 5;

  struct PendingRead {
    uint64_t due;
    uint64_t address;
  };

  static const VerilatedScope* find(VerilatedContext* context, const char* module,
                                    const char* signal) {
    for (const auto& [name, scope] : *context->scopeNameMap()) {
      if (scope->varFind(signal) != nullptr) return scope;
    }
    throw std::runtime_error(std::string("no public signals in ") + module);
  }

  void sample(uint64_t now) {
    if (load_valid_.value() && load_ready_.value()) {
      events_[kActivationLoad].add(now, load_address_.value(), load_data_.bytes());
    }
    if (weight_valid_.value() && weight_ready_.value()) {
      events_[kWeightLoad].add(now, weight_address_.value(), weight_data_.bytes());
    }
    if (sums_valid_.value() >> 2 & 1) {
      events_[kAccumulate].add(now, sums_address_.value(), sums_.bytes());
    }
    if (vector_valid_.value()) {
      events_[kActivationVector].add(now, vector_address_.value(), vector_data_.bytes());
    }
    if (window_valid_.value() && window_ready_.value()) {
      events_[kActivationWindow].add(now, window_address_.value(), window_data_.bytes());
    }
    if (array_read_.value()) events_[kArrayRead].add(now, array_address_.value());
    if (fill_.value()) events_[kWeightFill].add(now, fill_row_.value());
    for (uint64_t unit = 0; unit < kUnits; ++unit) {
      if (retired_.value() >> unit & 1) events_[kRetire].add(now, unit);
    }
    sample_accumulator_reads(now);
    sample_stores(now);
  }

  void sample_accumulator_reads(uint64_t now) {
    if (!reads_.empty() && reads_.front().due == now) {
      events_[kAccumulatorRead].add(now, reads_.front().address, read_sums_.bytes());
      reads_.pop_front();
    }
    if (read_.value()) reads_.push_back({now + kReadCycles, read_address_.value()});
  }

  // Memory takes no beat before the address of its burst.
  void sample_stores(uint64_t now) {
    constexpr uint64_t kBeat = sizeof(Dut::m_axi_wdata);
    if (dut_->m_axi_awvalid && dut_->m_axi_awready) {
      for (uint64_t beat = 0; beat <= dut_->m_axi_awlen; ++beat) {
        beats_.push_back(dut_->m_axi_awaddr + beat * kBeat);
      }
    }
    if (dut_->m_axi_wvalid && dut_->m_axi_wready && !beats_.empty()) {
      const auto* data = reinterpret_cast<const uint8_t*>(&dut_->m_axi_wdata);
      events_[kMemoryStore].add(now, beats_.front(), data);
      beats_.pop_front();
    }
  }

  void dump(uint64_t now, uint64_t phase) {
    if (!waveform_ || now < first_ || now > last_) return;
    if (!waveform_->isOpen()) waveform_->open(path_.c_str());
    waveform_->dump((now - origin_) * 2 * kHalfPeriod + phase);
  }

  Dut* dut_;
  const VerilatedScope* top_;
  const VerilatedScope* core_;
  const VerilatedScope* accumulators_;
  Signal load_valid_{core_, "lw_valid_i"}, load_ready_{core_, "lw_ready_o"};
  Signal load_address_{core_, "lw_addr_i"}, load_data_{core_, "lw_data_i"};
  Signal weight_valid_{core_, "ww_valid_i"}, weight_ready_{core_, "ww_ready_o"};
  Signal weight_address_{core_, "ww_addr_i"}, weight_data_{core_, "ww_data_i"};
  Signal vector_valid_{core_, "vw_valid"};
  Signal vector_address_{core_, "vw_addr"}, vector_data_{core_, "vw_data"};
  Signal window_valid_{core_, "gw_valid"}, window_ready_{core_, "gw_ready"};
  Signal window_address_{core_, "gw_addr"}, window_data_{core_, "gw_data"};
  Signal array_read_{core_, "array_en"}, array_address_{core_, "array_addr"};
  Signal fill_{core_, "fill_en"}, fill_row_{core_, "fill_row"};
  Signal read_{core_, "acc_en"}, read_address_{core_, "acc_read_addr"};
  Signal read_sums_{core_, "acc_data"};
  Signal retired_{top_, "retired"};
  Signal sums_valid_{accumulators_, "valid_q"}, sums_address_{accumulators_, "addr_q3"};
  Signal sums_{accumulators_, "sum_q"};

  bool recording_ = false;
  std::array<EventList, kEventKinds> events_;
  std::deque<PendingRead> reads_;
  std::deque<uint64_t> beats_;

  std::unique_ptr<VerilatedVcdC> waveform_;
  std::string path_;
  uint64_t first_ = 0;
  uint64_t last_ = 0;
  uint64_t origin_ = 0;
};

}  // namespace intaglio

#endif  // INTAGLIO_NPU_OBSERVER_H
