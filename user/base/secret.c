// SPDX-License-Identifier: Apache-2.0
/*
 * Reads files with secrets, after a look at who else may read them. Called by whoever is given the name of such a file:
 * the target (policy) and `sluice io` (options). What always holds: what was checked is what is read, since both are
 * done on one descriptor.
 */
#include "base/secret.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

void secret_wipe(void *memory, size_t len)
{
	explicit_bzero(memory, len);
}

static int check_file(int fd, const char *path, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st))
		return error_system(err, errno, "%s", path);
	if (!S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "%s: is no regular file; put the secret in a file", path);
	if (st.st_uid && st.st_uid != geteuid())
		return error_set(err, EPERM,
				 "%s: belongs to user %u, who could change it; make it root's or this user's (chown)",
				 path, (unsigned int)st.st_uid);
	if (st.st_mode & 077)
		return error_set(err, EPERM,
				 "%s: has mode %04o, so that others may read it; chmod 0600 it, and change the secret "
				 "if others could",
				 path, (unsigned int)st.st_mode & 07777);
	return 0;
}

/* The line without white space around it, moved to the front. -EINVAL: there is none, or more than one. */
static int trim(char *text, size_t len)
{
	char *end = memchr(text, '\n', len), *start = text;
	size_t rest = end ? len - (size_t)(end + 1 - text) : 0;

	if (!end)
		end = text + len;
	for (size_t i = 0; i < rest; i++) {
		if (!isspace((unsigned char)end[1 + i]))
			return -EINVAL;
	}
	while (start < end && isspace((unsigned char)*start))
		start++;
	while (end > start && isspace((unsigned char)end[-1]))
		end--;
	len = (size_t)(end - start);
	if (!len || memchr(start, 0, len))
		return -EINVAL;
	memmove(text, start, len);
	text[len] = 0;
	return 0;
}

int secret_read(const char *path, char ret_text[SECRET_MAX], struct error *err)
{
	/* Not to hang on a FIFO before it is seen to be one. */
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ssize_t n;
	int r;

	if (fd < 0)
		return error_system(err, errno, "%s", path);
	r = check_file(fd, path, err);
	if (r)
		return r;
	n = read(fd, ret_text, SECRET_MAX);
	if (n < 0)
		r = error_system(err, errno, "%s", path);
	else if (n == SECRET_MAX)
		r = error_set(err, EINVAL, "%s: is longer than a secret can be (%d bytes)", path, SECRET_MAX - 1);
	else if (trim(ret_text, (size_t)n))
		r = error_set(err, EINVAL, "%s: is not one line of text; write the secret alone into it", path);
	if (r)
		secret_wipe(ret_text, SECRET_MAX);
	return r;
}
