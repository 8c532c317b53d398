/* Bare-metal driver of the npu.  Memory is accessed through volatile pointers, so that no compiler
   turns a loop into a call of memcpy or memset. */

#include "npu_driver.h"

static uint32_t read_register(const npu_t *npu, uint32_t offset) {
  return npu_read32(npu->registers + offset);
}

static void write_register(const npu_t *npu, uint32_t offset, uint32_t value) {
  npu_write32(npu->registers + offset, value);
}

static void write_wide(const npu_t *npu, uint32_t offset, uint64_t value) {
  write_register(npu, offset, (uint32_t)value);
  write_register(npu, offset + 4, (uint32_t)(value >> 32));
}

static volatile uint8_t *byte_at(const npu_t *npu, size_t offset) {
  return (volatile uint8_t *)npu->memory + offset;
}

const char *npu_status_text(npu_status_t status) {
  switch (status) {
    case NPU_OK:
      return "no error";
    case NPU_ILLEGAL_INSTRUCTION:
      return "the npu met an illegal instruction: load the program again";
    case NPU_READ_RESPONSE:
      return "the npu got an error response to a memory read: check bus_address";
    case NPU_WRITE_RESPONSE:
      return "the npu got an error response to a memory write: check bus_address and memory_bytes";
    case NPU_WATCHDOG:
      return "the npu made no progress for watchdog_cycles: allow more, or load the program again";
    case NPU_UNKNOWN_ERROR:
      return "the npu reports an error that this driver does not know: use the driver of its RTL";
    case NPU_NOT_FOUND:
      return "no npu answers at this address: check registers";
    case NPU_OTHER_DESIGN:
      return "the npu is of another design or version: compile the network for it";
    case NPU_MEMORY_UNALIGNED:
      return "the memory is not aligned: memory needs 4 bytes, bus_address NPU_ALIGNMENT";
    case NPU_MEMORY_TOO_SMALL:
      return "the memory is smaller than the network needs: raise memory_bytes";
    case NPU_STUCK:
      return "the npu is still busy after max_polls: allow more, or reset it";
  }
  return "no status of this driver";
}

npu_status_t npu_probe(const npu_t *npu, uint32_t version, size_t memory_bytes) {
  if (read_register(npu, NPU_REGISTER_ID) != NPU_IDENTITY) return NPU_NOT_FOUND;
  if (read_register(npu, NPU_REGISTER_VERSION) != version) return NPU_OTHER_DESIGN;
  if (npu->bus_address % NPU_ALIGNMENT != 0 || (uintptr_t)npu->memory % sizeof(uint32_t) != 0) {
    return NPU_MEMORY_UNALIGNED;
  }
  return npu->memory_bytes < memory_bytes ? NPU_MEMORY_TOO_SMALL : NPU_OK;
}

/* Whether STATUS was read as often as it may be; counts in `polls`. */
static bool exhausted(const npu_t *npu, uint32_t *polls) {
  return npu->max_polls != 0 && ++*polls >= npu->max_polls;
}

npu_status_t npu_reset(const npu_t *npu) {
  uint32_t polls = 0;
  write_register(npu, NPU_REGISTER_CONTROL, NPU_CONTROL_SOFT_RESET);
  while (read_register(npu, NPU_REGISTER_STATUS) & NPU_STATUS_BUSY) {
    if (exhausted(npu, &polls)) return NPU_STUCK;
  }
  return NPU_OK;
}

void npu_load(const npu_t *npu, const npu_segment_t *segment) {
  volatile uint32_t *memory = (volatile uint32_t *)byte_at(npu, segment->memory_offset);
  for (size_t i = 0; i < segment->image_bytes / sizeof(uint32_t); ++i) {
    memory[i] = segment->image[i];
  }
}

/* Channels of the plane that starts at `first`. */
static uint32_t plane_channels(const npu_tensor_t *tensor, uint32_t first) {
  const uint32_t left = tensor->channels - first;
  return left < tensor->pixel_bytes ? left : tensor->pixel_bytes;
}

/* Where the first byte of an element stands among those of the tensor. */
static size_t element_start(const npu_tensor_t *tensor, uint32_t channel, uint32_t y, uint32_t x) {
  const size_t pixel = (size_t)y * tensor->width + x;
  const size_t element = channel * (size_t)tensor->channel_step + pixel * tensor->pixel_step;
  return element * tensor->element_bytes;
}

/* Bytes from a channel's element to the next channel's. */
static size_t channel_bytes(const npu_tensor_t *tensor) {
  return (size_t)tensor->channel_step * tensor->element_bytes;
}

/* Bytes of the elements of one head. */
static size_t head_bytes(const npu_tensor_t *tensor) {
  return (size_t)tensor->channels * tensor->height * tensor->width * tensor->element_bytes;
}

/* One row of a plane: byte `half` of the elements of the channels from `first` on. */
static void write_row(const npu_tensor_t *tensor, volatile uint8_t *row, const uint8_t *from,
                      uint32_t first, uint32_t half, uint32_t y) {
  const uint32_t channels = plane_channels(tensor, first);
  const size_t step = channel_bytes(tensor);
  for (uint32_t i = 0; i < tensor->row_bytes; ++i) row[i] = (uint8_t)(tensor->filler >> 8 * half);
  volatile uint8_t *pixel = row + (size_t)tensor->left * tensor->pixel_bytes;
  for (uint32_t x = 0; x < tensor->width; ++x, pixel += tensor->pixel_bytes) {
    const uint8_t *element = from + element_start(tensor, first, y, x) + half;
    for (uint32_t lane = 0; lane < channels; ++lane) pixel[lane] = element[lane * step];
  }
}

static void read_row(const npu_tensor_t *tensor, const volatile uint8_t *row, uint8_t *to,
                     uint32_t first, uint32_t half, uint32_t y) {
  const uint32_t channels = plane_channels(tensor, first);
  const size_t step = channel_bytes(tensor);
  const volatile uint8_t *pixel = row + (size_t)tensor->left * tensor->pixel_bytes;
  for (uint32_t x = 0; x < tensor->width; ++x, pixel += tensor->pixel_bytes) {
    uint8_t *element = to + element_start(tensor, first, y, x) + half;
    for (uint32_t lane = 0; lane < channels; ++lane) element[lane * step] = pixel[lane];
  }
}

/* Where a tensor of one image of a run starts. */
static size_t tensor_start(const npu_segment_t *segment, const npu_tensor_t *tensor, size_t image) {
  return segment->memory_offset + tensor->offset + image * segment->tensor_bytes;
}

void npu_write_tensor(const npu_t *npu, const npu_segment_t *segment, const npu_tensor_t *tensor,
                      size_t image, const void *elements) {
  volatile uint8_t *row = byte_at(npu, tensor_start(segment, tensor, image));
  const uint8_t *from = elements;
  for (uint32_t head = 0; head < tensor->heads; ++head, from += head_bytes(tensor)) {
    for (uint32_t first = 0; first < tensor->channels; first += tensor->pixel_bytes) {
      for (uint32_t half = 0; half < tensor->element_bytes; ++half) {
        for (uint32_t y = 0; y < tensor->height; ++y, row += tensor->row_bytes) {
          write_row(tensor, row, from, first, half, y);
        }
      }
    }
  }
}

void npu_read_tensor(const npu_t *npu, const npu_segment_t *segment, const npu_tensor_t *tensor,
                     size_t image, void *elements) {
  const volatile uint8_t *row = byte_at(npu, tensor_start(segment, tensor, image));
  uint8_t *to = elements;
  for (uint32_t head = 0; head < tensor->heads; ++head, to += head_bytes(tensor)) {
    for (uint32_t first = 0; first < tensor->channels; first += tensor->pixel_bytes) {
      for (uint32_t half = 0; half < tensor->element_bytes; ++half) {
        for (uint32_t y = 0; y < tensor->height; ++y, row += tensor->row_bytes) {
          read_row(tensor, row, to, first, half, y);
        }
      }
    }
  }
}

npu_status_t npu_start(const npu_t *npu, const npu_segment_t *segment) {
  const npu_status_t status = npu_reset(npu);
  if (status != NPU_OK) return status;
  write_wide(npu, NPU_REGISTER_PROGRAM, segment->program_offset);
  write_wide(npu, NPU_REGISTER_BASE, npu->bus_address + segment->memory_offset);
  write_register(npu, NPU_REGISTER_COUNT, segment->instructions);
  write_register(npu, NPU_REGISTER_WATCHDOG, npu->watchdog_cycles);
  write_register(npu, NPU_REGISTER_INTERRUPT, npu->interrupt);
  NPU_BARRIER();
  write_register(npu, NPU_REGISTER_CONTROL, NPU_CONTROL_START);
  return NPU_OK;
}

/* The status of a run that the hardware ended with an error. */
static npu_status_t failure(uint32_t status) {
  switch (status >> NPU_STATUS_ERROR_SHIFT & NPU_STATUS_ERROR_MASK) {
    case NPU_ERROR_ILLEGAL_INSTRUCTION:
      return NPU_ILLEGAL_INSTRUCTION;
    case NPU_ERROR_READ_RESPONSE:
      return NPU_READ_RESPONSE;
    case NPU_ERROR_WRITE_RESPONSE:
      return NPU_WRITE_RESPONSE;
    case NPU_ERROR_WATCHDOG:
      return NPU_WATCHDOG;
    default:
      return NPU_UNKNOWN_ERROR;
  }
}

npu_status_t npu_wait(const npu_t *npu) {
  uint32_t polls = 0;
  for (;;) {
    const uint32_t status = read_register(npu, NPU_REGISTER_STATUS);
    if (status & NPU_STATUS_ERROR) return failure(status);
    if (status & NPU_STATUS_DONE) {
      NPU_BARRIER();
      return NPU_OK;
    }
    if (exhausted(npu, &polls)) return NPU_STUCK;
    npu_idle();
  }
}

uint64_t npu_counter(const npu_t *npu, uint32_t offset) {
  const uint64_t high = read_register(npu, offset + 4);
  return high << 32 | read_register(npu, offset);
}
