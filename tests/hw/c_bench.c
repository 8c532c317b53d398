/* Register accesses of the C driver on a Verilated npu: each one clocks the model. */

#include "npu_driver.h"

/* Of hw/driver/npu_driver.cpp. */
int npu_write_register(void *driver, uint32_t address, uint32_t value);
int npu_read_register(void *driver, uint32_t address, uint32_t *value);
int npu_run(void *driver, uint64_t cycles);

void bench_attach(void *driver, uintptr_t registers, uint64_t idle_cycles);
uint32_t bench_refused(void);

static void *model;
static uintptr_t base;
static uint64_t idle;
static uint32_t refused;

/* Registers are at `registers`; the processor idles for up to `idle_cycles`, or an interrupt. */
void bench_attach(void *driver, uintptr_t registers, uint64_t idle_cycles) {
  model = driver;
  base = registers;
  idle = idle_cycles;
  refused = 0;
}

/* Accesses that the hardware answered with an error, or not at all. */
uint32_t bench_refused(void) { return refused; }

uint32_t npu_read32(uintptr_t address) {
  uint32_t value = 0;
  if (!npu_read_register(model, (uint32_t)(address - base), &value)) ++refused;
  return value;
}

void npu_write32(uintptr_t address, uint32_t value) {
  if (!npu_write_register(model, (uint32_t)(address - base), value)) ++refused;
}

void npu_idle(void) { npu_run(model, idle); }
