/* OpenSSL's allocator for tests/faults/openssl_memory.py: the n-th allocation after
 * arm(n) fails, once; arm(-1): none. Built as a shared object by that script. */
#include <stdlib.h>

static long until_failure = -1; /* allocations that succeed before the one that fails */

/* Returns what was left before. */
long
arm(long n)
{
    long left = until_failure;
    until_failure = n;
    return left;
}

/* True when the failure has been had. */
int
is_spent(void)
{
    return until_failure < 0;
}

static int
fails(void)
{
    return until_failure >= 0 && until_failure-- == 0;
}

void *
failing_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return size == 0 || fails() ? NULL : malloc(size);
}

void *
failing_realloc(void *old, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    if (size == 0) {
        free(old);
        return NULL;
    }
    return fails() ? NULL : realloc(old, size);
}

void
failing_free(void *memory, const char *file, int line)
{
    (void)file;
    (void)line;
    free(memory);
}
