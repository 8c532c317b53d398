/* Bare-metal driver of the npu: freestanding C11, no library, no heap, no floating point. */

#ifndef NPU_DRIVER_H
#define NPU_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "npu.h"

/* Why a call failed; the hardware's own errors have the hardware's codes. */
typedef enum {
  NPU_OK = 0,
  NPU_ILLEGAL_INSTRUCTION = NPU_ERROR_ILLEGAL_INSTRUCTION,
  NPU_READ_RESPONSE = NPU_ERROR_READ_RESPONSE,
  NPU_WRITE_RESPONSE = NPU_ERROR_WRITE_RESPONSE,
  NPU_WATCHDOG = NPU_ERROR_WATCHDOG,
  NPU_UNKNOWN_ERROR = 256, /* an error code that this driver does not know */
  NPU_NOT_FOUND,           /* register ID holds something else */
  NPU_OTHER_DESIGN,        /* register VERSION holds something else */
  NPU_MEMORY_UNALIGNED,    /* the memory does not start at a multiple of NPU_ALIGNMENT */
  NPU_MEMORY_TOO_SMALL,
  NPU_STUCK /* still busy after max_polls */
} npu_status_t;

/* One sentence; never null. */
const char *npu_status_text(npu_status_t status);

#define NPU_ALIGNMENT 4096u

/* One npu and the memory that it shares with this processor. */
typedef struct {
  uintptr_t registers;      /* where this processor sees the control registers */
  void *memory;             /* where it sees the memory, aligned to 4 bytes */
  uint64_t bus_address;     /* where the npu sees the same memory */
  size_t memory_bytes;      /* its size */
  uint32_t watchdog_cycles; /* cycles without progress before NPU_WATCHDOG; 0: off */
  uint32_t max_polls;       /* reads of STATUS before NPU_STUCK; 0: wait for ever */
  bool interrupt;           /* raise the interrupt line at the end of a run */
} npu_t;

/* A program and the part of memory that it runs in; every offset is in bytes. */
typedef struct {
  size_t memory_offset;  /* its part, from the start of the memory */
  const uint32_t *image; /* constants and instructions, placed at the start of its part */
  size_t image_bytes;    /* a multiple of 4 */
  size_t program_offset; /* the first instruction, from the start of its part */
  uint32_t instructions;
  size_t tensor_bytes; /* from a tensor of one image of a run to that of the next */
} npu_segment_t;

/* How the elements of a tensor lie in memory: `heads` maps one behind the other, most often one.  A
   map has planes of `pixel_bytes` channels each, a plane `height` rows, a row `row_bytes` whose
   pixels start after `left` pixels of padding.  Elements of two bytes have two planes, low bytes
   before high ones.  In the order of a map's elements, channels are `channel_step` apart and pixels
   `pixel_step`. */
typedef struct {
  size_t offset; /* from the start of the segment's part of memory */
  uint32_t heads, channels, height, width;
  uint32_t pixel_bytes, row_bytes, left;
  uint32_t channel_step, pixel_step;
  uint32_t element_bytes; /* 1 or 2 */
  uint16_t filler;        /* what elements of no channel hold */
} npu_tensor_t;

/* Is this the npu that a program was compiled for, and is the memory fit for it? */
npu_status_t npu_probe(const npu_t *npu, uint32_t version, size_t memory_bytes);

/* Stop whatever runs; clear errors and counters. */
npu_status_t npu_reset(const npu_t *npu);

/* Place constants and instructions in memory: once, or by a loader instead. */
void npu_load(const npu_t *npu, const npu_segment_t *segment);

/* Elements, of 8 or 16 bits, little endian, in the order that the tensor's shape gives, to memory
   and back; of image number `image` of a run, from 0. */
void npu_write_tensor(const npu_t *npu, const npu_segment_t *segment, const npu_tensor_t *tensor,
                      size_t image, const void *elements);
void npu_read_tensor(const npu_t *npu, const npu_segment_t *segment, const npu_tensor_t *tensor,
                     size_t image, void *elements);

/* Reset, then start; `npu_wait` waits for the end by reading STATUS, with `npu_idle` between. */
npu_status_t npu_start(const npu_t *npu, const npu_segment_t *segment);
npu_status_t npu_wait(const npu_t *npu);

/* A 64-bit counter of a stopped npu: NPU_REGISTER_CYCLES and its neighbours. */
uint64_t npu_counter(const npu_t *npu, uint32_t offset);

/* What a system replaces by defining NPU_CUSTOM_ACCESS and these three functions: a register
   access, and what to do between two reads of STATUS (for one, wait for the interrupt). */
#ifdef NPU_CUSTOM_ACCESS
uint32_t npu_read32(uintptr_t address);
void npu_write32(uintptr_t address, uint32_t value);
void npu_idle(void);
#else
static inline uint32_t npu_read32(uintptr_t address) { return *(volatile uint32_t *)address; }
static inline void npu_write32(uintptr_t address, uint32_t value) {
  *(volatile uint32_t *)address = value;
}
static inline void npu_idle(void) {}
#endif

/* Orders accesses of memory and registers, as the npu sees them.  A system whose caches the npu
   does not see replaces it by one that writes them back and drops them. */
#ifndef NPU_BARRIER
#ifdef __riscv
#define NPU_BARRIER() __asm__ volatile("fence iorw, iorw" ::: "memory")
#else
#define NPU_BARRIER() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#endif
#endif

#endif
