/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What decoder (pdu.c) and encoder (pdu_encode.c) both know of each PDU type, and nobody else
 * needs.
 */
#ifndef SLUICE_NVME_PDU_LAYOUT_H
#define SLUICE_NVME_PDU_LAYOUT_H

#include "nvme/pdu.h"

enum pdu_layout_kind {
	LAYOUT_IC,		/* fixed length, never a digest */
	LAYOUT_TERM,		/* never a digest; up to 128 bytes of another header behind it */
	LAYOUT_BARE,		/* never data */
	LAYOUT_MAYBE_DATA,
	LAYOUT_DATA,		/* always data */
};

struct pdu_layout {
	const char		*name;	/* NULL: no such type */
	__u8			hlen;
	enum pdu_role		sender;
	enum pdu_layout_kind	kind;
};

#define PDU_LAYOUTS	(PDU_R2T + 1)

extern const struct pdu_layout pdu_layouts[PDU_LAYOUTS];

/* NULL for a type that does not exist. */
static inline const struct pdu_layout *pdu_layout(__u8 type)
{
	return type < PDU_LAYOUTS && pdu_layouts[type].name ? &pdu_layouts[type] : NULL;
}

/* Bytes of the header with its digest: the least that PDO may be. */
static inline __u8 pdu_head_len(__u8 type, const struct pdu_framing *framing)
{
	const struct pdu_layout *layout = pdu_layout(type);
	bool digested = framing->hdgst && layout->kind != LAYOUT_IC && layout->kind != LAYOUT_TERM;

	return layout->hlen + (digested ? PDU_DIGEST_LEN : 0);
}

#endif /* SLUICE_NVME_PDU_LAYOUT_H */
