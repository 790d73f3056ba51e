// Bech32 (BIP 173) as age uses it: without the 90-character limit of the original.
#pragma once
#include "owned.h"
#include <stdint.h>

// Text of len bytes under hrp, lower case, NUL-terminated, into out[size]. -ENOSPC.
MUST int bech32_encode(const char *hrp, const uint8_t *data, size_t len, char *out, size_t size);
// The reverse. s is text_len characters, all of one case; its hrp must be hrp (in lower case). Exactly len
// bytes. -EINVAL for anything else, the checksum and non-zero padding included.
MUST int bech32_decode(const char *hrp, const char *s, size_t text_len, uint8_t *data, size_t len);
