// Bech32. The checksum is over GF(32); constants from BIP 173. Works on secret keys too: what it keeps on the
// stack is wiped.
#include "bech32.h"
#include <sodium.h>
#include <stdbool.h>
#include <string.h>

static const char alphabet[] = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
enum { MAX_DATA = 64, MAX_VALUES = MAX_DATA * 8 / 5 + 1, CHECK_LEN = 6 };

static uint32_t polymod_step(uint32_t sum, uint8_t value)
{
    static const uint32_t generator[5] = {0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3};
    uint32_t top = sum >> 25;

    sum = (sum & 0x1ffffff) << 5 ^ value;
    for (int i = 0; i < 5; i++)
        if (top >> i & 1)
            sum ^= generator[i];
    return sum;
}

static uint32_t checksum(const char *hrp, const uint8_t *values, size_t n)
{
    uint32_t sum = 1;

    for (const char *p = hrp; *p; p++)
        sum = polymod_step(sum, (uint8_t)*p >> 5);
    sum = polymod_step(sum, 0);
    for (const char *p = hrp; *p; p++)
        sum = polymod_step(sum, (uint8_t)*p & 31);
    for (size_t i = 0; i < n; i++)
        sum = polymod_step(sum, values[i]);
    return sum;
}

int bech32_encode(const char *hrp, const uint8_t *data, size_t len, char *out, size_t size)
{
    uint8_t values[MAX_VALUES + CHECK_LEN] = {0};
    size_t n = 0, hrp_len = strlen(hrp);
    unsigned bits = 0, acc = 0;

    if (len > MAX_DATA || size < hrp_len + 1 + (len * 8 + 4) / 5 + CHECK_LEN + 1)
        return -ENOSPC;
    for (size_t i = 0; i < len; i++) {
        acc = (acc << 8 | data[i]) & 0xffff;
        for (bits += 8; bits >= 5; bits -= 5)
            values[n++] = (uint8_t)(acc >> (bits - 5) & 31);
    }
    if (bits > 0)
        values[n++] = (uint8_t)(acc << (5 - bits) & 31);
    uint32_t sum = checksum(hrp, values, n + CHECK_LEN) ^ 1;
    for (int i = 0; i < CHECK_LEN; i++)
        values[n++] = (uint8_t)(sum >> (5 * (CHECK_LEN - 1 - i)) & 31);
    memcpy(out, hrp, hrp_len);
    out[hrp_len] = '1';
    for (size_t i = 0; i < n; i++)
        out[hrp_len + 1 + i] = alphabet[values[i]];
    out[hrp_len + 1 + n] = '\0';
    sodium_memzero(values, sizeof(values));
    sodium_memzero(&acc, sizeof(acc));
    return 0;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static int decode_values(const char *s, size_t n, uint8_t *values)
{
    bool has_upper = false, has_lower = false;

    for (size_t i = 0; i < n; i++) {
        has_upper |= s[i] >= 'A' && s[i] <= 'Z';
        has_lower |= s[i] >= 'a' && s[i] <= 'z';
        const char *p = s[i] ? strchr(alphabet, lower(s[i])) : NULL;
        if (!p)
            return -EINVAL;
        values[i] = (uint8_t)(p - alphabet);
    }
    return has_upper && has_lower ? -EINVAL : 0;
}

static int join_bits(const uint8_t *values, size_t n, uint8_t *data, size_t len)
{
    unsigned acc = 0, bits = 0;
    size_t out = 0;

    for (size_t i = 0; i < n; i++) {
        acc = (acc << 5 | values[i]) & 0xfff;
        bits += 5;
        if (bits < 8)
            continue;
        bits -= 8;
        if (out == len)
            return -EINVAL;
        data[out++] = (uint8_t)(acc >> bits);
    }
    bool padding = (acc & ((1u << bits) - 1)) != 0 || bits >= 5;
    sodium_memzero(&acc, sizeof(acc));
    return out == len && !padding ? 0 : -EINVAL;
}

int bech32_decode(const char *hrp, const char *s, size_t text_len, uint8_t *data, size_t len)
{
    uint8_t values[MAX_VALUES + CHECK_LEN] = {0};
    size_t hrp_len = strlen(hrp);
    bool upper = text_len > 0 && s[0] >= 'A' && s[0] <= 'Z';

    if (len > MAX_DATA || text_len < hrp_len + 1 + CHECK_LEN || text_len > hrp_len + 1 + sizeof(values))
        return -EINVAL;
    for (size_t i = 0; i < hrp_len; i++)
        if (lower(s[i]) != hrp[i] ||
            (hrp[i] >= 'a' && hrp[i] <= 'z' && (s[i] >= 'A' && s[i] <= 'Z') != upper))
            return -EINVAL;
    size_t n = text_len - hrp_len - 1;
    const char *body = s + hrp_len + 1;
    int r = s[hrp_len] == '1' ? decode_values(body, n, values) : -EINVAL;
    for (size_t i = 0; r == 0 && i < n; i++)
        if ((upper && body[i] >= 'a' && body[i] <= 'z') || (!upper && body[i] >= 'A' && body[i] <= 'Z'))
            r = -EINVAL; // one case throughout
    if (r == 0 && checksum(hrp, values, n) != 1)
        r = -EINVAL;
    if (r == 0)
        r = join_bits(values, n - CHECK_LEN, data, len);
    sodium_memzero(values, sizeof(values));
    return r;
}
