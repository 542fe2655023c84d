/* SPDX-License-Identifier: Apache-2.0 */
/* Data of Reservation Report with 128-bit host identifiers (Base 2.0, section 7.5), for the target and the initiator. */
#ifndef SLUICE_NVME_RESERVATION_REPORT_H
#define SLUICE_NVME_RESERVATION_REPORT_H

#include <sluice/nvme_tcp.h>

#define RESERVATION_REPORT_EDS 1 /* cdw11: extended data structure, the one below */

struct report_header {
	__le32 generation;
	__u8 type;
	__u8 n_controllers[2];
	__u8 reserved7[2];
	__u8 persists;
	__u8 reserved10[54];
};

struct report_controller {
	__le16 cntlid;
	__u8 holds;
	__u8 reserved3[5];
	__le64 key;
	__u8 hostid[16];
	__u8 reserved32[32];
};

_Static_assert(sizeof(struct report_header) == 64, "registered controllers start at byte 64");
_Static_assert(sizeof(struct report_controller) == 64, "hosts read them 64 bytes apart");

#endif /* SLUICE_NVME_RESERVATION_REPORT_H */
