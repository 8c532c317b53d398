// Clocks npu_control: every port is a number in an array, in the order of the two lists below.

#include <cstdint>

#include "Vdut.h"
#include "verilated.h"

#define INPUTS(PORT)                                                                            \
  PORT(rst_ni) PORT(awaddr_i) PORT(awvalid_i) PORT(wdata_i) PORT(wstrb_i) PORT(wvalid_i)        \
  PORT(bready_i) PORT(araddr_i) PORT(arvalid_i) PORT(rready_i) PORT(memory_idle_i)              \
  PORT(illegal_i) PORT(read_error_i) PORT(write_error_i) PORT(read_beat_i) PORT(write_beat_i)   \
  PORT(progress_i) PORT(retired_i) PORT(busy_i) PORT(stall_i) PORT(waiting_i) PORT(missing_i)

#define OUTPUTS(PORT)                                                                           \
  PORT(awready_o) PORT(wready_o) PORT(bresp_o) PORT(bvalid_o) PORT(arready_o) PORT(rdata_o)     \
  PORT(rresp_o) PORT(rvalid_o) PORT(irq_o) PORT(unit_rst_no) PORT(flush_o) PORT(halt_o)         \
  PORT(start_o) PORT(base_o) PORT(program_o) PORT(count_o)

#define NAME(port) #port " "
#define PUT(port) dut.port = *in++;
#define GET(port) *out++ = dut.port;

struct Control {
  VerilatedContext context;
  Vdut dut{&context};
};

extern "C" {

const char* control_inputs() { return INPUTS(NAME); }
const char* control_outputs() { return OUTPUTS(NAME); }

Control* control_create() { return new Control; }
void control_destroy(Control* control) { delete control; }

// The outputs that `in` leads to before the clock edge; then the edge, when `edge` is set.
void control_step(Control* control, const uint64_t* in, uint64_t* out, int edge) {
  Vdut& dut = control->dut;
  dut.clk_i = 0;
  INPUTS(PUT)
  dut.eval();
  OUTPUTS(GET)
  if (edge) {
    dut.clk_i = 1;
    dut.eval();
  }
}
}
