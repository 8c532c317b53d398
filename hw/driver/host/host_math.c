/* The integer rules of a network's operators on the host, as the integer reference defines them. */

#include "host_math.h"

int64_t host_clamp(int64_t value, int64_t lo, int64_t hi) {
  if (value < lo) return lo;
  return value > hi ? hi : value;
}

int64_t host_shift(int64_t value, unsigned shift) {
  return value >= 0 ? value >> shift : ~(~value >> shift);
}

int64_t host_round(int64_t value, unsigned shift) {
  return host_shift(value + ((int64_t)1 << (shift - 1)), shift);
}

int64_t host_requantise(int64_t acc, int64_t r, const host_channel_t *channel, int64_t lo,
                        int64_t hi) {
  const int64_t sum = acc * channel->multiplier + r * channel->residual + channel->bias;
  return host_clamp(host_shift(sum, channel->shift), lo, hi);
}

/* Bits of a value that is not negative. */
static unsigned bit_length(int64_t value) {
  unsigned bits = 0;
  for (; value > 0; value >>= 1) ++bits;
  return bits;
}

int64_t host_power(int64_t distance, int64_t multiplier, unsigned shift, const int32_t *table) {
  int64_t exponent = host_round(distance * multiplier, shift);
  if (exponent > (int64_t)32 << 17) exponent = (int64_t)32 << 17;
  const int64_t whole = exponent >> 17;
  const size_t entry = (size_t)(exponent >> 9 & 255);
  const int64_t step = table[entry] - table[entry + 1];
  const int64_t mantissa = (int64_t)table[entry] * 512 - step * (exponent & 511);
  return (mantissa + ((int64_t)1 << whole >> 1)) >> whole;
}

host_softmax_t host_softmax(int64_t sum, unsigned bits) {
  if (sum < (int64_t)1 << 30) sum = (int64_t)1 << 30;
  const unsigned length = bit_length(sum);
  const int64_t divisor = sum >> (length - 31);
  const int64_t largest = ((int64_t)1 << bits) - 1;
  const host_softmax_t made = {(largest * ((int64_t)1 << 39) + divisor) / (2 * divisor),
                               length + 7};
  return made;
}

/* 1 / sqrt(value) is the result times 2^(half_shift - 55). */
static int64_t reciprocal_root(int64_t value, unsigned half_shift, const int32_t *seed) {
  const int64_t three = (int64_t)3 << 30;
  const int64_t top = value << (2 * half_shift) >> 32;
  const int64_t first = seed[(top >> 22) - 64];
  const int64_t better =
      (first * (three - (top * (first * first) >> 30)) + ((int64_t)1 << 21)) >> 22;
  const int64_t square = (better * better + ((int64_t)1 << 19)) >> 20;
  return (better * (three - (top * square >> 28)) + ((int64_t)1 << 30)) >> 31;
}

host_norm_t host_norm(int64_t count, int64_t sum, int64_t squares, int64_t epsilon,
                      unsigned fraction, const int32_t *seed) {
  const int64_t least = (int64_t)1 << fraction;
  int64_t widened = (count * squares - sum * sum) * least + epsilon;
  if (widened < least) widened = least;
  const unsigned half_shift = (62 - bit_length(widened)) >> 1;
  const host_norm_t made = {reciprocal_root(widened, half_shift, seed),
                            35 - fraction / 2 - half_shift};
  return made;
}
