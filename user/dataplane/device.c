// SPDX-License-Identifier: Apache-2.0
/*
 * What the kernel says of a network device as far as forwarding in XDP depends on it: its driver, and whether that
 * takes frames that are redirected to it. Called by ports.c for interfaces of the caller's network namespace. Nothing
 * is changed.
 */
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "dataplane/internal.h"

/* Of linux/netdev.h, which the kernel has from 6.3 on. */
#define NETDEV_FAMILY	     "netdev"
#define NETDEV_DEV_GET	     1
#define NETDEV_ATTR_IFINDEX  1
#define NETDEV_ATTR_FEATURES 3
#define NETDEV_XDP_NDO_XMIT  4 /* takes redirected frames */

/* ------------------------------------------------------------------- generic netlink */

struct request {
	struct nlmsghdr nl;
	struct genlmsghdr genl;
	char attributes[64];
};

static void request_add(struct request *q, uint16_t type, const void *value, size_t size)
{
	struct nlattr *a = (struct nlattr *)(void *)((char *)q + NLMSG_ALIGN(q->nl.nlmsg_len));

	a->nla_type = type;
	a->nla_len = (uint16_t)(NLA_HDRLEN + size);
	memcpy((char *)a + NLA_HDRLEN, value, size);
	q->nl.nlmsg_len = NLMSG_ALIGN(q->nl.nlmsg_len) + (uint32_t)NLA_ALIGN(a->nla_len);
}

/*
 * Sends a request with one attribute and takes attribute `wanted` out of the answer, at most `size` bytes of it.
 * -ENODATA: the answer does not have it.
 */
static int ask(int fd, uint16_t family, uint8_t command, uint16_t type, const void *value, size_t value_size,
	       uint16_t wanted, void *ret_value, size_t size)
{
	_Alignas(8) char answer[8192];
	struct request q = {
		.nl = {.nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN), .nlmsg_type = family, .nlmsg_flags = NLM_F_REQUEST},
		.genl = {.cmd = command, .version = 1}};
	const struct nlmsghdr *nl = (const void *)answer;
	const struct nlattr *a;
	size_t left, used;
	ssize_t n;

	request_add(&q, type, value, value_size);
	if (send(fd, &q, q.nl.nlmsg_len, 0) < 0)
		return -errno;
	n = recv(fd, answer, sizeof(answer), 0);
	if (n < 0)
		return -errno;
	if (!NLMSG_OK(nl, (size_t)n))
		return -EBADMSG;
	if (nl->nlmsg_type == NLMSG_ERROR)
		return nl->nlmsg_len >= NLMSG_LENGTH(sizeof(struct nlmsgerr))
			       ? ((const struct nlmsgerr *)NLMSG_DATA(nl))->error
			       : -EBADMSG;
	left = nl->nlmsg_len > NLMSG_LENGTH(GENL_HDRLEN) ? nl->nlmsg_len - NLMSG_LENGTH(GENL_HDRLEN) : 0;
	a = (const void *)((const char *)NLMSG_DATA(nl) + GENL_HDRLEN);
	while (left >= NLA_HDRLEN && a->nla_len >= NLA_HDRLEN && a->nla_len <= left) {
		if ((a->nla_type & NLA_TYPE_MASK) == wanted) {
			memcpy(ret_value, (const char *)a + NLA_HDRLEN, min(size, (size_t)a->nla_len - NLA_HDRLEN));
			return 0;
		}
		used = NLA_ALIGN(a->nla_len);
		left = used < left ? left - used : 0;
		a = (const void *)((const char *)a + used);
	}
	return -ENODATA;
}

/* XDP features of a device. Negative: this kernel does not tell. */
static int xdp_features(uint32_t ifindex, uint64_t *ret_features)
{
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
	uint16_t family = 0;
	int r;

	if (fd < 0)
		return -errno;
	r = ask(fd, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME, NETDEV_FAMILY, sizeof(NETDEV_FAMILY),
		CTRL_ATTR_FAMILY_ID, &family, sizeof(family));
	return r ? r
		 : ask(fd, family, NETDEV_DEV_GET, NETDEV_ATTR_IFINDEX, &ifindex, sizeof(ifindex), NETDEV_ATTR_FEATURES,
		       ret_features, sizeof(*ret_features));
}

/* ------------------------------------------------------------------- facts */

static bool device_ioctl(int fd, unsigned long request, const char *name, struct ifreq *ifr)
{
	snprintf(ifr->ifr_name, sizeof(ifr->ifr_name), "%s", name);
	return !ioctl(fd, request, ifr);
}

int device_facts(const char *name, uint32_t ifindex, struct device_facts *ret)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ethtool_drvinfo driver = {.cmd = ETHTOOL_GDRVINFO};
	struct ethtool_value flags = {.cmd = ETHTOOL_GFLAGS};
	struct device_facts facts = {.redirect = DEVICE_UNSAID};
	struct ifreq ifr = {};
	uint64_t features = 0;

	if (fd < 0)
		return -errno;
	if (!device_ioctl(fd, SIOCGIFFLAGS, name, &ifr))
		return -errno;
	facts.up = ifr.ifr_flags & IFF_UP;
	if (!device_ioctl(fd, SIOCGIFHWADDR, name, &ifr))
		return -errno;
	memcpy(facts.mac, ifr.ifr_hwaddr.sa_data, sizeof(facts.mac));
	if (!device_ioctl(fd, SIOCGIFMTU, name, &ifr))
		return -errno;
	facts.mtu = (uint16_t)min(ifr.ifr_mtu, 65535);
	/* A driver need not answer these two. */
	ifr.ifr_data = (void *)&driver;
	if (device_ioctl(fd, SIOCETHTOOL, name, &ifr))
		facts.veth = !strncmp(driver.driver, "veth", sizeof(driver.driver));
	ifr.ifr_data = (void *)&flags;
	if (device_ioctl(fd, SIOCETHTOOL, name, &ifr))
		facts.takes_tags = flags.data & ETH_FLAG_RXVLAN;
	if (!xdp_features(ifindex, &features))
		facts.redirect = features & NETDEV_XDP_NDO_XMIT ? DEVICE_YES : DEVICE_NO;
	*ret = facts;
	return 0;
}
