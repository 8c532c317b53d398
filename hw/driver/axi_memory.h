// A memory behind an AXI4 port, with a documented timing and the strictest legal data order.
//
// Timing (cycles, without random stalls):
// - An address is accepted every cycle while fewer than 16 bursts of its direction are outstanding.
// - The first beat of a read comes `latency` cycles after its address at the earliest; reads are
//   answered in order.
// - One beat a cycle moves in total, reads and writes together; when both want it they alternate.
// - The response of a write comes `latency` cycles after its last beat at the earliest.
// Order: a read takes its data when its address is accepted; a write reaches the memory when its
// response is given.  A read that is sent too early therefore sees the old content.
// Addresses outside the memory are answered with a decode error (response 3).
//
// Every rule of the protocol that the other side breaks is recorded as a sentence.

#ifndef INTAGLIO_AXI_MEMORY_H
#define INTAGLIO_AXI_MEMORY_H

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

namespace intaglio {

// Seeded coin for random stalls; with `permille` 0 it never stalls.
class Stalls {
 public:
  Stalls(uint64_t seed, uint32_t permille) : state_(seed * 2 + 1), permille_(permille) {}

  bool stall() {
    if (permille_ == 0) return false;
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return (state_ >> 20) % 1000 < permille_;
  }

 private:
  uint64_t state_;
  uint32_t permille_;
};

// The first sentences about broken protocol rules; `cycle` is the driver's clock.
class Violations {
 public:
  void add(uint64_t cycle, const std::string& sentence) {
    if (sentences_.size() < kLimit) {
      sentences_.push_back("cycle " + std::to_string(cycle) + ": " + sentence);
    }
  }
  bool any() const { return !sentences_.empty(); }
  size_t size() const { return sentences_.size(); }
  const char* at(size_t index) const { return sentences_.at(index).c_str(); }

 private:
  static constexpr size_t kLimit = 16;
  std::vector<std::string> sentences_;
};

// What a channel carried in the last cycle when it was valid and not yet accepted.
template <typename Payload>
class HeldChannel {
 public:
  explicit HeldChannel(const char* name) : name_(name) {}

  void check(bool valid, bool ready, const Payload& payload, uint64_t cycle, Violations* found) {
    if (held_ && !valid) {
      found->add(cycle, std::string(name_) + " dropped valid before it was accepted");
    } else if (held_ && !(payload == payload_)) {
      found->add(cycle, std::string(name_) + " changed while it waited to be accepted");
    }
    held_ = valid && !ready;
    payload_ = payload;
  }

  void forget() { held_ = false; }

 private:
  const char* name_;
  bool held_ = false;
  Payload payload_{};
};

struct BurstAddress {
  uint64_t address;
  uint32_t beats;
  uint32_t size;
  uint32_t burst;

  bool operator==(const BurstAddress& other) const {
    return address == other.address && beats == other.beats && size == other.size &&
           burst == other.burst;
  }
};

template <int BeatBytes>
struct WriteBeat {
  uint8_t data[BeatBytes];
  uint64_t strobes;
  bool last;

  bool operator==(const WriteBeat& other) const {
    return strobes == other.strobes && last == other.last &&
           std::memcmp(data, other.data, BeatBytes) == 0;
  }
};

// `Dut` is the Verilated model; its ports are named m_axi_*.
template <typename Dut>
class AxiMemory {
 public:
  static constexpr int kBeatBytes = sizeof(Dut::m_axi_wdata);
  static constexpr size_t kOutstanding = 16;
  static constexpr uint64_t kPage = 4096;

  AxiMemory(uint64_t base, uint64_t bytes, uint32_t latency, Stalls* stalls, Violations* found)
      : base_(base), content_(bytes), latency_(latency), stalls_(stalls), found_(found) {}

  uint8_t* content() { return content_.data(); }

  // Chooses this cycle's inputs of `dut` from its outputs after the clock edge.
  void drive(Dut* dut, uint64_t now) {
    dut->m_axi_arready = reads_.size() < kOutstanding && !stalls_->stall();
    dut->m_axi_awready = writes_.size() < kOutstanding && !stalls_->stall();
    const bool read_held = read_valid_;
    const bool read_wants = !read_held && read_ready(now) && !stalls_->stall();
    const bool write_wants = dut->m_axi_wvalid && data_burst_ < writes_.size() && !stalls_->stall();
    const bool grant_write = write_wants && !(read_wants && last_was_write_);
    const bool grant_read = read_wants && !grant_write;
    if (grant_read || grant_write) last_was_write_ = grant_write;
    dut->m_axi_wready = grant_write;
    if (grant_read) present_read(dut);
    dut->m_axi_rvalid = read_valid_;
    if (!response_valid_ && response_ready(now) && !stalls_->stall()) present_response(dut);
    dut->m_axi_bvalid = response_valid_;
  }

  // Records the transfers of this cycle, all inputs and outputs being settled.
  void sample(const Dut& dut, uint64_t now) {
    sample_read_address(dut, now);
    sample_write_address(dut, now);
    sample_write_data(dut, now);
    if (dut.m_axi_rvalid && dut.m_axi_rready) accept_read();
    if (dut.m_axi_bvalid && dut.m_axi_bready) {
      response_valid_ = false;
      writes_.pop_front();
      --data_burst_;
    }
  }

  // Nothing may be valid while the other side is in reset.
  void check_reset(const Dut& dut, uint64_t now) {
    if (dut.m_axi_arvalid) found_->add(now, "AR is valid during reset");
    if (dut.m_axi_awvalid) found_->add(now, "AW is valid during reset");
    if (dut.m_axi_wvalid) found_->add(now, "W is valid during reset");
  }

  bool idle() const { return reads_.empty() && writes_.empty(); }

 private:
  struct ReadBurst {
    uint64_t ready_at;
    uint32_t beats;
    uint32_t sent;
    uint32_t response;
    std::vector<uint8_t> data;
  };
  struct WriteBurst {
    uint64_t address;
    uint32_t beats;
    uint32_t received;
    uint64_t respond_at;
    std::vector<uint8_t> data;
    std::vector<uint64_t> strobes;
  };

  bool inside(uint64_t address, uint64_t bytes) const {
    return address >= base_ && address - base_ + bytes <= content_.size();
  }

  bool read_ready(uint64_t now) const { return !reads_.empty() && now >= reads_.front().ready_at; }

  bool response_ready(uint64_t now) const {
    return data_burst_ > 0 && now >= writes_.front().respond_at;
  }

  void present_read(Dut* dut) {
    ReadBurst& burst = reads_.front();
    std::memcpy(&dut->m_axi_rdata, &burst.data[size_t{burst.sent} * kBeatBytes], kBeatBytes);
    dut->m_axi_rresp = burst.response;
    dut->m_axi_rlast = burst.sent + 1 == burst.beats;
    read_valid_ = true;
  }

  void accept_read() {
    read_valid_ = false;
    ReadBurst& burst = reads_.front();
    if (++burst.sent == burst.beats) reads_.pop_front();
  }

  void present_response(Dut* dut) {
    const WriteBurst& burst = writes_.front();
    const bool legal = inside(burst.address, burst.data.size());
    for (size_t i = 0; legal && i < burst.data.size(); ++i) {
      if (burst.strobes[i / kBeatBytes] >> (i % kBeatBytes) & 1) {
        content_[burst.address - base_ + i] = burst.data[i];
      }
    }
    dut->m_axi_bresp = legal ? 0 : 3;
    response_valid_ = true;
  }

  void check_burst(const char* name, const BurstAddress& burst, uint64_t now) {
    const uint64_t bytes = uint64_t{burst.beats} * kBeatBytes;
    if (burst.burst != 1) found_->add(now, std::string(name) + " is not an INCR burst");
    if ((1 << burst.size) != kBeatBytes) {
      found_->add(now, std::string(name) + " has beats of " + std::to_string(1 << burst.size) +
                           " bytes on a port of " + std::to_string(kBeatBytes));
    }
    if (burst.address % kBeatBytes != 0) {
      found_->add(now, std::string(name) + " address " + std::to_string(burst.address) +
                           " is not a multiple of the beat");
    }
    if (burst.address / kPage != (burst.address + bytes - 1) / kPage) {
      found_->add(now, std::string(name) + " burst of " + std::to_string(bytes) +
                           " bytes at address " + std::to_string(burst.address) +
                           " crosses 4 KiB");
    }
  }

  void sample_read_address(const Dut& dut, uint64_t now) {
    const BurstAddress burst{dut.m_axi_araddr, dut.m_axi_arlen + 1U, dut.m_axi_arsize,
                             dut.m_axi_arburst};
    read_address_.check(dut.m_axi_arvalid, dut.m_axi_arready, burst, now, found_);
    if (!dut.m_axi_arvalid || !dut.m_axi_arready) return;
    check_burst("AR", burst, now);
    const size_t bytes = size_t{burst.beats} * kBeatBytes;
    ReadBurst read{now + latency_, burst.beats, 0, 0, std::vector<uint8_t>(bytes)};
    if (inside(burst.address, bytes)) {
      std::memcpy(read.data.data(), &content_[burst.address - base_], bytes);
    } else {
      read.response = 3;
    }
    reads_.push_back(std::move(read));
  }

  void sample_write_address(const Dut& dut, uint64_t now) {
    const BurstAddress burst{dut.m_axi_awaddr, dut.m_axi_awlen + 1U, dut.m_axi_awsize,
                             dut.m_axi_awburst};
    write_address_.check(dut.m_axi_awvalid, dut.m_axi_awready, burst, now, found_);
    if (!dut.m_axi_awvalid || !dut.m_axi_awready) return;
    check_burst("AW", burst, now);
    WriteBurst write{burst.address, burst.beats, 0, 0, {}, {}};
    write.data.reserve(size_t{burst.beats} * kBeatBytes);
    write.strobes.reserve(burst.beats);
    writes_.push_back(std::move(write));
  }

  void sample_write_data(const Dut& dut, uint64_t now) {
    WriteBeat<kBeatBytes> beat{};
    if (dut.m_axi_wvalid) {
      std::memcpy(beat.data, &dut.m_axi_wdata, kBeatBytes);
      beat.strobes = dut.m_axi_wstrb;
      beat.last = dut.m_axi_wlast;
    }
    write_data_.check(dut.m_axi_wvalid, dut.m_axi_wready, beat, now, found_);
    if (!dut.m_axi_wvalid || !dut.m_axi_wready) return;
    WriteBurst& burst = writes_[data_burst_];
    burst.data.insert(burst.data.end(), beat.data, beat.data + kBeatBytes);
    burst.strobes.push_back(beat.strobes);
    const bool last = ++burst.received == burst.beats;
    if (beat.last != last) {
      found_->add(now, "WLAST is " + std::to_string(beat.last) + " on beat " +
                           std::to_string(burst.received) + " of " + std::to_string(burst.beats));
    }
    if (last) {
      burst.respond_at = now + latency_;
      ++data_burst_;
    }
  }

  uint64_t base_;
  std::vector<uint8_t> content_;
  uint32_t latency_;
  Stalls* stalls_;
  Violations* found_;
  std::deque<ReadBurst> reads_;
  std::deque<WriteBurst> writes_;
  size_t data_burst_ = 0;  // the write burst whose data come next; those before it wait to respond
  bool read_valid_ = false;
  bool response_valid_ = false;
  bool last_was_write_ = false;
  HeldChannel<BurstAddress> read_address_{"AR"};
  HeldChannel<BurstAddress> write_address_{"AW"};
  HeldChannel<WriteBeat<kBeatBytes>> write_data_{"W"};
};

}  // namespace intaglio

#endif  // INTAGLIO_AXI_MEMORY_H
