// encrypt, decrypt, keygen: age files of any kind, by anybody. No config, no vault, no root.
#pragma once
#include "opt.h"

int agefile_encrypt(const struct opts *opts);
int agefile_decrypt(const struct opts *opts);
int agefile_keygen(const struct opts *opts);
