// SPDX-License-Identifier: Apache-2.0
// A small AXI master with the ports of npu_top, for testing the driver: it reads COUNT bursts of
// eight beats from BASE + PROGRAM, inverts every bit and writes them 64 KiB further up.
// The register FAULT (0x030) picks a rule to break: 1 AR drops valid, 2 AW changes while it waits,
// 3 W changes while it waits, 4 WLAST a beat early, 5 a burst over a 4 KiB border, 6 an address off
// the beat, 7 control R changes while it waits, 8 a wrapping burst, 9 beats narrower than the port,
// 10 hangs after the first burst, 11 control answers a read before it accepts it.  With ResetFault
// AR is valid during reset.

module inverter #(
  parameter int MemBytes = 4,
  parameter int ResetFault = 0
) (
  input  logic        clk_i,
  input  logic        rst_ni,
  output logic        irq_o,
  output logic        mark_valid_o,
  output logic [15:0] mark_layer_o,

  input  logic [11:0] s_axil_awaddr,
  input  logic [2:0]  s_axil_awprot,
  input  logic        s_axil_awvalid,
  output logic        s_axil_awready,
  input  logic [31:0] s_axil_wdata,
  input  logic [3:0]  s_axil_wstrb,
  input  logic        s_axil_wvalid,
  output logic        s_axil_wready,
  output logic [1:0]  s_axil_bresp,
  output logic        s_axil_bvalid,
  input  logic        s_axil_bready,
  input  logic [11:0] s_axil_araddr,
  input  logic [2:0]  s_axil_arprot,
  input  logic        s_axil_arvalid,
  output logic        s_axil_arready,
  output logic [31:0] s_axil_rdata,
  output logic [1:0]  s_axil_rresp,
  output logic        s_axil_rvalid,
  input  logic        s_axil_rready,

  output logic [0:0]            m_axi_awid,
  output logic [39:0]           m_axi_awaddr,
  output logic [7:0]            m_axi_awlen,
  output logic [2:0]            m_axi_awsize,
  output logic [1:0]            m_axi_awburst,
  output logic                  m_axi_awlock,
  output logic [3:0]            m_axi_awcache,
  output logic [2:0]            m_axi_awprot,
  output logic                  m_axi_awvalid,
  input  logic                  m_axi_awready,
  output logic [8*MemBytes-1:0] m_axi_wdata,
  output logic [MemBytes-1:0]   m_axi_wstrb,
  output logic                  m_axi_wlast,
  output logic                  m_axi_wvalid,
  input  logic                  m_axi_wready,
  input  logic [0:0]            m_axi_bid,
  input  logic [1:0]            m_axi_bresp,
  input  logic                  m_axi_bvalid,
  output logic                  m_axi_bready,
  output logic [0:0]            m_axi_arid,
  output logic [39:0]           m_axi_araddr,
  output logic [7:0]            m_axi_arlen,
  output logic [2:0]            m_axi_arsize,
  output logic [1:0]            m_axi_arburst,
  output logic                  m_axi_arlock,
  output logic [3:0]            m_axi_arcache,
  output logic [2:0]            m_axi_arprot,
  output logic                  m_axi_arvalid,
  input  logic                  m_axi_arready,
  input  logic [0:0]            m_axi_rid,
  input  logic [8*MemBytes-1:0] m_axi_rdata,
  input  logic [1:0]            m_axi_rresp,
  input  logic                  m_axi_rlast,
  input  logic                  m_axi_rvalid,
  output logic                  m_axi_rready
);
  localparam logic [2:0] IDLE = 3'd0, READ_ADDRESS = 3'd1, READ = 3'd2, WRITE_ADDRESS = 3'd3,
                         WRITE = 3'd4, RESPONSE = 3'd5, STUCK = 3'd6;
  localparam int SHIFT = $clog2(MemBytes);

  logic [2:0]            state_q;
  logic [3:0]            fault_q;
  logic [31:0]           program_q, count_q, left_q;
  logic [39:0]           base_q, address_q;
  logic                  interrupt_q, done_q, error_q;
  logic [63:0]           cycles_q;
  logic [2:0]            beat_q;
  logic [15:0]           noise_q;
  logic [8*MemBytes-1:0] data_q [0:7];

  // Control: one access at a time; a write is accepted when address and data are both there.
  logic write_fire;
  assign write_fire = s_axil_awvalid && s_axil_wvalid && !s_axil_bvalid;
  assign s_axil_awready = write_fire;
  assign s_axil_wready = write_fire;
  assign s_axil_bresp = 2'd0;
  assign s_axil_arready = !s_axil_rvalid && (fault_q != 4'd11);
  assign s_axil_rresp = 2'd0;

  logic start, soft_reset;
  assign start = write_fire && s_axil_awaddr == 12'h008 && s_axil_wdata[0];
  assign soft_reset = write_fire && s_axil_awaddr == 12'h008 && s_axil_wdata[1];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      s_axil_bvalid <= 1'b0;
      s_axil_rvalid <= 1'b0;
      interrupt_q <= 1'b0;
      base_q <= '0;
      fault_q <= '0;
    end else begin
      if (write_fire) s_axil_bvalid <= 1'b1;
      else if (s_axil_bready) s_axil_bvalid <= 1'b0;
      if (write_fire && s_axil_awaddr == 12'h010) program_q <= s_axil_wdata;
      if (write_fire && s_axil_awaddr == 12'h018) count_q <= s_axil_wdata;
      if (write_fire && s_axil_awaddr == 12'h020) interrupt_q <= s_axil_wdata[0];
      if (write_fire && s_axil_awaddr == 12'h028) base_q[31:0] <= s_axil_wdata;
      if (write_fire && s_axil_awaddr == 12'h030) fault_q <= s_axil_wdata[3:0];
      if (write_fire && s_axil_awaddr == 12'h02C) base_q[39:32] <= s_axil_wdata[7:0];
      if (s_axil_arvalid && !s_axil_rvalid) begin
        s_axil_rvalid <= 1'b1;
        case (s_axil_araddr)
          12'h000: s_axil_rdata <= 32'h494E5447;
          12'h00C: s_axil_rdata <= {29'd0, error_q, done_q, state_q != IDLE};
          12'h010: s_axil_rdata <= program_q;
          12'h100: s_axil_rdata <= cycles_q[31:0];
          12'h104: s_axil_rdata <= cycles_q[63:32];
          default: s_axil_rdata <= 32'd0;
        endcase
      end else if (s_axil_rready) begin
        s_axil_rvalid <= 1'b0;
      end else if (fault_q == 4'd7) begin
        s_axil_rdata <= s_axil_rdata + 32'd1;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    noise_q <= rst_ni ? noise_q + 16'd1 : 16'd0;
    if (!rst_ni || soft_reset) begin
      state_q <= IDLE;
      done_q <= 1'b0;
      error_q <= 1'b0;
      cycles_q <= '0;
    end else begin
      if (state_q != IDLE) cycles_q <= cycles_q + 64'd1;
      case (state_q)
        IDLE: if (start) begin
          state_q <= READ_ADDRESS;
          left_q <= count_q;
          address_q <= base_q + {8'd0, program_q};
        end
        READ_ADDRESS: if (m_axi_arvalid && m_axi_arready) state_q <= READ;
        READ: if (m_axi_rvalid) begin
          data_q[beat_q] <= ~m_axi_rdata;
          error_q <= error_q || m_axi_rresp != 2'd0;
          beat_q <= m_axi_rlast ? 3'd0 : beat_q + 3'd1;
          if (m_axi_rlast) state_q <= WRITE_ADDRESS;
        end
        WRITE_ADDRESS: begin
          beat_q <= 3'd0;
          if (m_axi_awready) state_q <= WRITE;
        end
        WRITE: if (m_axi_wready) begin
          beat_q <= beat_q + 3'd1;
          if (beat_q == 3'd7) state_q <= RESPONSE;
        end
        RESPONSE: if (m_axi_bvalid) begin
          address_q <= address_q + 40'(8 * MemBytes);
          left_q <= left_q - 32'd1;
          error_q <= error_q || m_axi_bresp != 2'd0;
          state_q <= left_q == 32'd1 ? IDLE : fault_q == 4'd10 ? STUCK : READ_ADDRESS;
          done_q <= left_q == 32'd1;
        end
        default: state_q <= state_q;
      endcase
      if (state_q == READ_ADDRESS) beat_q <= 3'd0;
    end
  end

  assign irq_o = interrupt_q && done_q;
  assign mark_valid_o = state_q == RESPONSE && m_axi_bvalid;
  assign mark_layer_o = count_q[15:0] - left_q[15:0];

  assign m_axi_arid = '0;
  assign m_axi_araddr = fault_q == 4'd5 ? address_q + 40'(4096 - 4 * MemBytes)
                      : fault_q == 4'd6 ? address_q + 40'd1 : address_q;
  assign m_axi_arlen = 8'd7;
  assign m_axi_arsize = fault_q == 4'd9 ? 3'd0 : 3'(SHIFT);
  assign m_axi_arburst = fault_q == 4'd8 ? 2'd2 : 2'd1;
  assign m_axi_arlock = 1'b0;
  assign m_axi_arcache = '0;
  assign m_axi_arprot = '0;
  assign m_axi_arvalid = (state_q == READ_ADDRESS && !(fault_q == 4'd1 && noise_q[0]))
                       || (ResetFault != 0 && !rst_ni);
  assign m_axi_rready = state_q == READ;
  assign m_axi_awid = '0;
  assign m_axi_awaddr = address_q + 40'd65536 + (fault_q == 4'd2 ? {20'd0, noise_q, 4'd0} : 40'd0);
  assign m_axi_awlen = 8'd7;
  assign m_axi_awsize = 3'(SHIFT);
  assign m_axi_awburst = 2'd1;
  assign m_axi_awlock = 1'b0;
  assign m_axi_awcache = '0;
  assign m_axi_awprot = '0;
  assign m_axi_awvalid = state_q == WRITE_ADDRESS;
  assign m_axi_wdata = data_q[beat_q] ^ (fault_q == 4'd3 ? {(8 * MemBytes){noise_q[0]}} : '0);
  assign m_axi_wstrb = '1;
  assign m_axi_wlast = beat_q == (fault_q == 4'd4 ? 3'd6 : 3'd7);
  assign m_axi_wvalid = state_q == WRITE;
  assign m_axi_bready = state_q == RESPONSE;
endmodule
