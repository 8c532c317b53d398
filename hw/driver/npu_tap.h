// The words that the vector unit writes into the activation buffer, in order: what verification sees
// of tensors that never leave the chip.

#ifndef INTAGLIO_NPU_TAP_H
#define INTAGLIO_NPU_TAP_H

#include <cstddef>
#include <cstdint>
#include <vector>

#include "Vdut.h"
#include "Vdut___024root.h"

namespace intaglio {

// The signals of npu_tap.vlt, in `npu_top` and under the top that is made for a design.
// Null in a model of something else.
template <typename Root>
const auto* tap_valid(const Root& root) {
  if constexpr (requires { root.npu_top__DOT__u_core__DOT__vw_valid; }) {
    return &root.npu_top__DOT__u_core__DOT__vw_valid;
  } else if constexpr (requires { root.intaglio_npu__DOT__u_npu__DOT__u_core__DOT__vw_valid; }) {
    return &root.intaglio_npu__DOT__u_npu__DOT__u_core__DOT__vw_valid;
  } else {
    return static_cast<const CData*>(nullptr);
  }
}
template <typename Root>
const auto* tap_data(const Root& root) {
  if constexpr (requires { root.npu_top__DOT__u_core__DOT__vw_data; }) {
    return &root.npu_top__DOT__u_core__DOT__vw_data;
  } else if constexpr (requires { root.intaglio_npu__DOT__u_npu__DOT__u_core__DOT__vw_data; }) {
    return &root.intaglio_npu__DOT__u_npu__DOT__u_core__DOT__vw_data;
  } else {
    return static_cast<const CData*>(nullptr);
  }
}

// Records while `record(true)`.
class Tap {
 public:
  explicit Tap(const Vdut& dut) : dut_(dut) {}

  // Whether the model shows the signals.
  bool present() const { return tap_valid(*dut_.rootp) && tap_data(*dut_.rootp); }
  void record(bool on) {
    recording_ = on;
    words_.clear();
  }
  size_t width() const { return sizeof *tap_data(*dut_.rootp); }
  const std::vector<uint8_t>& words() const { return words_; }

  // In every cycle, before the clock edge.
  void sample() {
    if (!recording_ || !*tap_valid(*dut_.rootp)) return;
    const auto* bytes = reinterpret_cast<const uint8_t*>(tap_data(*dut_.rootp));
    words_.insert(words_.end(), bytes, bytes + width());
  }

 private:
  const Vdut& dut_;
  bool recording_ = false;
  std::vector<uint8_t> words_;
};

}  // namespace intaglio

#endif  // INTAGLIO_NPU_TAP_H
