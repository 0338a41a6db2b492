/* What has come from the transport below and is not decrypted yet (see tls.h): in the
 * loop's read buffer while tls_data_received runs, in `in_kept` after that. Called by
 * engine.c and the ways to OpenSSL; arrival_take also without the GIL, within OpenSSL.
 *
 * Invariant: in_size != 0 outside of tls_data_received only with in_kept. */
#include "../py/compat.h"

#include <string.h>

#include "tls.h"

void
arrival_drop(Tls *tls)
{
    PyMem_RawFree(tls->in_kept);
    tls->in_kept = NULL;
    tls->in_data = NULL;
    tls->in_size = 0;
}

/* size more bytes behind those that are kept. 0 or -1. */
static int
keep(Tls *tls, const char *data, size_t size)
{
    char *kept = PyMem_RawMalloc(tls->in_size + size);
    if (kept == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (tls->in_size > 0) {
        memcpy(kept, tls->in_data, tls->in_size);
    }
    memcpy(kept + tls->in_size, data, size);
    PyMem_RawFree(tls->in_kept);
    tls->in_kept = kept;
    tls->in_data = kept;
    tls->in_size += size;
    return 0;
}

int
arrival_add(Tls *tls, const char *data, size_t size)
{
    if (tls->in_size > 0) {
        return keep(tls, data, size);
    }
    arrival_drop(tls);
    tls->in_data = data;
    tls->in_size = size;
    return 0;
}

int
arrival_settle(Tls *tls)
{
    if (tls->in_size == 0) {
        arrival_drop(tls);
        return 0;
    }
    if (tls->in_kept != NULL) {
        return 0;
    }
    const char *data = tls->in_data;
    size_t size = tls->in_size;
    tls->in_size = 0;
    return keep(tls, data, size);
}

size_t
arrival_take(Tls *tls, char *data, size_t size)
{
    size_t count = tls->in_size < size ? tls->in_size : size;
    memcpy(data, tls->in_data, count);
    tls->in_data += count;
    tls->in_size -= count;
    return count;
}
