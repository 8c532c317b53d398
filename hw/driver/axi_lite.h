// One register access at a time over AXI4-Lite, with the protocol rules of the other side checked.

#ifndef INTAGLIO_AXI_LITE_H
#define INTAGLIO_AXI_LITE_H

#include <cstdint>
#include <string>

#include "axi_memory.h"

namespace intaglio {

// `Dut` is the Verilated model; its ports are named s_axil_*.
template <typename Dut>
class AxiLiteMaster {
 public:
  AxiLiteMaster(Stalls* stalls, Violations* found) : stalls_(stalls), found_(found) {}

  void start_write(uint32_t address, uint32_t value) {
    address_ = address;
    value_ = value;
    writing_ = true;
    address_pending_ = data_pending_ = response_pending_ = true;
  }

  void start_read(uint32_t address) {
    address_ = address;
    writing_ = false;
    address_pending_ = response_pending_ = true;
    data_pending_ = false;
  }

  bool busy() const { return response_pending_; }
  uint32_t value() const { return value_; }
  uint32_t response() const { return response_; }

  void drive(Dut* dut) {
    const bool sends_data = data_pending_ && (data_held_ || !stalls_->stall());
    const bool sends_address = address_pending_ && (address_held_ || !stalls_->stall());
    dut->s_axil_awvalid = writing_ && sends_address;
    dut->s_axil_arvalid = !writing_ && sends_address;
    dut->s_axil_awaddr = dut->s_axil_araddr = address_;
    dut->s_axil_awprot = dut->s_axil_arprot = 0;
    dut->s_axil_wvalid = sends_data;
    dut->s_axil_wdata = value_;
    dut->s_axil_wstrb = 0xF;
    dut->s_axil_bready = response_pending_ && writing_ && !stalls_->stall();
    dut->s_axil_rready = response_pending_ && !writing_ && !stalls_->stall();
  }

  void sample(const Dut& dut, uint64_t now) {
    write_response_.check(dut.s_axil_bvalid, dut.s_axil_bready, dut.s_axil_bresp, now, found_);
    const uint64_t answer = uint64_t{dut.s_axil_rdata} << 2 | dut.s_axil_rresp;
    read_data_.check(dut.s_axil_rvalid, dut.s_axil_rready, answer, now, found_);
    const bool address_valid = writing_ ? dut.s_axil_awvalid : dut.s_axil_arvalid;
    const bool address_ready = writing_ ? dut.s_axil_awready : dut.s_axil_arready;
    address_held_ = address_valid && !address_ready;
    data_held_ = dut.s_axil_wvalid && !dut.s_axil_wready;
    if (address_valid && address_ready) address_pending_ = false;
    if (dut.s_axil_wvalid && dut.s_axil_wready) data_pending_ = false;
    if (dut.s_axil_bvalid && dut.s_axil_bready) finish(dut.s_axil_bresp, now);
    if (dut.s_axil_rvalid && dut.s_axil_rready) {
      value_ = dut.s_axil_rdata;
      finish(dut.s_axil_rresp, now);
    }
  }

 private:
  void finish(uint32_t response, uint64_t now) {
    if (address_pending_ || data_pending_) {
      found_->add(now, "a register access was answered before it was accepted");
    }
    response_ = response;
    response_pending_ = false;
  }

  Stalls* stalls_;
  Violations* found_;
  uint32_t address_ = 0;
  uint32_t value_ = 0;
  uint32_t response_ = 0;
  bool writing_ = false;
  bool address_pending_ = false;
  bool data_pending_ = false;
  bool response_pending_ = false;
  bool address_held_ = false;
  bool data_held_ = false;
  HeldChannel<uint32_t> write_response_{"control B"};
  HeldChannel<uint64_t> read_data_{"control R"};
};

}  // namespace intaglio

#endif  // INTAGLIO_AXI_LITE_H
