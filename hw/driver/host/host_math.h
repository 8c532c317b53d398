/* The integer rules of a network's operators on the host; floor shifts, no floating point. */

#ifndef HOST_MATH_H
#define HOST_MATH_H

#include <stddef.h>
#include <stdint.h>

/* One output channel: y = (acc * multiplier + r * residual + bias) >> shift. */
typedef struct {
  int64_t bias;
  int32_t multiplier, residual;
  uint8_t shift;
} host_channel_t;

/* What a row of a softmax multiplies its powers by, and the shift that follows. */
typedef struct {
  int64_t reciprocal;
  unsigned shift;
} host_softmax_t;

/* What a norm multiplies N * x - sum by, and the shift that follows. */
typedef struct {
  int64_t root;
  unsigned shift;
} host_norm_t;

int64_t host_clamp(int64_t value, int64_t lo, int64_t hi);
/* Towards minus infinity; `shift` below 64. */
int64_t host_shift(int64_t value, unsigned shift);
/* The same of value + half a unit: half up; `shift` at least 1. */
int64_t host_round(int64_t value, unsigned shift);
int64_t host_requantise(int64_t acc, int64_t r, const host_channel_t *channel, int64_t lo,
                        int64_t hi);

/* 2^30 * e^(-scale * distance); `table` has 257 entries. */
int64_t host_power(int64_t distance, int64_t multiplier, unsigned shift, const int32_t *table);
/* For the sum of a row's powers and an output of `bits` bits. */
host_softmax_t host_softmax(int64_t sum, unsigned bits);

/* For rows of `count` with this sum (0 without centring) and sum of squares; `seed` has 192
   entries. */
host_norm_t host_norm(int64_t count, int64_t sum, int64_t squares, int64_t epsilon,
                      unsigned fraction, const int32_t *seed);

#endif
