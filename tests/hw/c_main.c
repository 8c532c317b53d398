/* A whole C program: images from standard input through the network on a Verilated npu.

   Needs the numbers of elements INPUT and OUTPUT, and the memory latency as its argument. */

#include <stdio.h>
#include <stdlib.h>

#include "network.h"

void *npu_create(uint64_t base, uint64_t bytes, uint32_t latency, uint32_t stalls, uint32_t seed);
uint8_t *npu_memory(void *driver);
void npu_destroy(void *driver);
void bench_attach(void *driver, uintptr_t registers, uint64_t idle_cycles);

int main(int argc, char **argv) {
  static int8_t images[NETWORK_IMAGES * INPUT], results[NETWORK_IMAGES * OUTPUT];
  const uint32_t latency = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1;
  void *model = npu_create(0x80000000, NETWORK_MEMORY_BYTES, latency, 0, 1);
  const npu_t npu = {.registers = 0x40000000, .memory = npu_memory(model),
                     .bus_address = 0x80000000, .memory_bytes = NETWORK_MEMORY_BYTES,
                     .watchdog_cycles = 10000, .max_polls = 100000};
  bench_attach(model, npu.registers, 0);
  npu_status_t status = network_load(&npu);
  size_t count;
  while (status == NPU_OK && (count = fread(images, INPUT, NETWORK_IMAGES, stdin)) > 0) {
    uint64_t cycles;
    status = network_run(&npu, count, images, results, &cycles);
    for (size_t image = 0; image < count; ++image) {
      if (image > 0) printf("\n");
      for (size_t i = 0; i < OUTPUT; ++i) printf("%d ", results[image * OUTPUT + i]);
    }
    printf("in %llu cycles\n", (unsigned long long)cycles);
  }
  puts(npu_status_text(status));
  npu_destroy(model);
  return status != NPU_OK;
}
