/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the text forms of NVMe secrets share, DHHC-1:hh:BASE64: and NVMeTLSkey-1:hh:BASE64: alike: two hexadecimal
 * digits for a hash, and base64 of the secret with its CRC-32 (little endian) behind it.
 */
#ifndef SLUICE_NVME_SECRET_TEXT_H
#define SLUICE_NVME_SECRET_TEXT_H

#include <stddef.h>
#include <stdint.h>

/* "00:" .. up to max; -EINVAL. */
int secret_text_hash(const char *text, int max);

/*
 * "BASE64:" and nothing behind it. NULL, or what is wrong with it, in words that quote nothing. The caller wipes
 * ret_secret in either case.
 */
const char *secret_text_decode(const char *text, uint8_t *ret_secret, size_t max, size_t *ret_len);

#endif
