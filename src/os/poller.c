/* The poller apart from the kernel's interface: who watches which descriptor, changes
 * to be told, stale events, forks, dispatching. Called by the loop and by whatever
 * embeds a Watcher, on the loop's thread; poller_wait without the GIL, so it only reads
 * what poller_prepare has made ready, and writes the batch.
 *
 * Invariants: slots[fd].watcher->fd == fd; `watched` counts the slots in use; a
 * watcher stands in `changes` or `failed` only while it is watched; registered != 0
 * implies that the set of this process (fork_id) is open. */
#include "poller.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "poller_backend.h"
#include "sys.h"

#define CL_POLLER_SLOTS_FIRST 64

void
poller_init(Poller *poller)
{
    platform_watch_forks();
    memset(poller, 0, sizeof(*poller));
    poller->fd = -1;
    poller->fork_id = platform_forks;
    list_init(&poller->changes);
    list_init(&poller->failed);
}

/* -- the set ----------------------------------------------------------------------- */

/* The kernel's set is a new, empty one (or none yet): all is to be told again. */
static void
poller_retell(Poller *poller)
{
    poller->stale = 0;
    for (size_t fd = 0; fd < poller->slot_count; fd++) {
        Watcher *watcher = poller->slots[fd].watcher;
        if (watcher == NULL) {
            continue;
        }
        watcher->registered = 0;
        list_remove(&watcher->changed);
        if (watcher->wanted != 0) {
            list_append(&poller->changes, &watcher->changed);
        }
    }
}

/* In a forked child the set, and what it has reported, is the parent's: only our
 * copy of its descriptor may be closed. */
static void
poller_check_fork_slow(Poller *poller)
{
    poller->fork_id = platform_forks;
    if (poller->fd >= 0) {
        sys_close(poller->fd);
        poller->fd = -1;
    }
    poller->batch_count = 0;
    poller->batch_next = 0;
    poller_retell(poller);
}

static inline void
poller_check_fork(Poller *poller)
{
    if (CL_UNLIKELY(poller->fork_id != platform_forks)) {
        poller_check_fork_slow(poller);
    }
}

static int
poller_open(Poller *poller)
{
    if (CL_LIKELY(poller->fd >= 0)) {
        return 0;
    }
    int rc = backend_open();
    if (rc < 0) {
        return rc;
    }
    poller->fd = rc;
    return 0;
}

/* Registrations of closed descriptors that live on in duplicates cannot be taken out by
 * number: leave them behind with the old set. When there is no descriptor for a new one
 * the old one must do for some time more. */
static void
poller_rebuild(Poller *poller)
{
    int fresh = backend_open();
    if (fresh < 0) {
        poller->stale = 0;
        return;
    }
    sys_close(poller->fd);
    poller->fd = fresh;
    poller_retell(poller);
}

void
poller_close(Poller *poller)
{
    if (poller->fd >= 0) {
        sys_close(poller->fd);
        poller->fd = -1;
    }
    free(poller->batch);
    poller->batch = NULL;
    poller->batch_count = 0;
    poller->batch_next = 0;
    for (size_t fd = 0; fd < poller->slot_count; fd++) {
        Watcher *watcher = poller->slots[fd].watcher;
        if (watcher == NULL) {
            continue;
        }
        poller->slots[fd].watcher = NULL;
        poller->watched--;
        list_remove(&watcher->changed);
        watcher->fd = -1;
        watcher->wanted = 0;
        watcher->registered = 0;
        watcher->ops->on_loop_close(watcher);
    }
    free(poller->slots);
    poller->slots = NULL;
    poller->slot_count = 0;
    poller->stale = 0;
}

int
poller_traverse(const Poller *poller, int (*visit)(void *, void *), void *arg)
{
    for (size_t fd = 0; fd < poller->slot_count; fd++) {
        Watcher *watcher = poller->slots[fd].watcher;
        if (watcher != NULL && watcher->ops->traverse != NULL) {
            int rc = watcher->ops->traverse(watcher, visit, arg);
            if (rc != 0) {
                return rc;
            }
        }
    }
    return 0;
}

/* -- watchers ---------------------------------------------------------------------- */

Watcher *
poller_find(const Poller *poller, int fd)
{
    if (fd < 0 || (size_t)fd >= poller->slot_count) {
        return NULL;
    }
    return poller->slots[fd].watcher;
}

static int
poller_grow(Poller *poller, int fd)
{
    size_t count = poller->slot_count > 0 ? poller->slot_count : CL_POLLER_SLOTS_FIRST;
    while (count <= (size_t)fd) {
        count *= 2;
    }
    if (count == poller->slot_count) {
        return 0;
    }
    PollerSlot *slots = realloc(poller->slots, count * sizeof(PollerSlot));
    if (slots == NULL) {
        return -ENOMEM;
    }
    memset(slots + poller->slot_count, 0,
           (count - poller->slot_count) * sizeof(PollerSlot));
    poller->slots = slots;
    poller->slot_count = count;
    return 0;
}

/* on_evicted may run anything: afterwards somebody may watch the number again. */
static int
poller_evict(Poller *poller, int fd)
{
    Watcher *stale = poller_find(poller, fd);
    if (CL_LIKELY(stale == NULL)) {
        return 0;
    }
    if (stale->ops->on_evicted == NULL) {
        return -EEXIST;
    }
    poller_unwatch(poller, stale);
    stale->ops->on_evicted(stale);
    return poller_find(poller, fd) == NULL ? 0 : -EEXIST;
}

int
poller_watch(Poller *poller, Watcher *watcher, int fd, unsigned wanted)
{
    if (fd < 0) {
        return -EBADF;
    }
    int rc = poller_evict(poller, fd);
    if (rc < 0) {
        return rc;
    }
    assert(watcher->fd < 0);
    poller_check_fork(poller);
    rc = poller_open(poller);
    if (rc < 0) {
        return rc;
    }
    if (fd == poller->fd) {
        return -EBADF; /* a closed number, which the set itself has just been given */
    }
    uint32_t generation = 1;
    if ((size_t)fd < poller->slot_count) {
        generation += poller->slots[fd].generation;
    }
    unsigned asked = wanted != 0 ? wanted : CL_READABLE;
    rc = backend_set(poller->fd, fd, 0, asked, &generation);
    if (rc < 0) {
        return rc;
    }
    /* Only now is fd known to be a descriptor, and its size to be no accident. */
    rc = poller_grow(poller, fd);
    if (rc < 0 || wanted == 0) {
        backend_set(poller->fd, fd, asked, 0, &generation);
    }
    if (rc < 0) {
        return rc;
    }
    poller->slots[fd].watcher = watcher;
    poller->slots[fd].generation = generation;
    poller->watched++;
    watcher->fd = fd;
    watcher->wanted = wanted;
    watcher->registered = wanted;
    return 0;
}

/* Tells the kernel the watcher's interest now. */
static int
poller_apply(Poller *poller, Watcher *watcher)
{
    PollerSlot *slot = &poller->slots[watcher->fd];
    int rc = backend_set(poller->fd, watcher->fd, watcher->registered, watcher->wanted,
                         &slot->generation);
    watcher->registered = rc < 0 ? 0 : watcher->wanted;
    return rc;
}

int
poller_rewatch(Poller *poller, Watcher *watcher, unsigned wanted)
{
    poller_check_fork(poller);
    list_remove(&watcher->changed);
    watcher->wanted = wanted;
    int rc = poller_open(poller);
    if (rc == 0) {
        rc = poller_apply(poller, watcher);
    }
    if (rc < 0) {
        watcher->wanted = 0;
        watcher->registered = 0;
    }
    return rc;
}

void
poller_want(Poller *poller, Watcher *watcher, unsigned wanted)
{
    watcher->wanted = wanted;
    /* Out first: it may stand among the failed, and is to be tried again. */
    list_remove(&watcher->changed);
    if (wanted != watcher->registered) {
        list_append(&poller->changes, &watcher->changed);
    }
}

void
poller_unwatch(Poller *poller, Watcher *watcher)
{
    if (watcher->fd < 0) {
        return;
    }
    poller_check_fork(poller);
    PollerSlot *slot = &poller->slots[watcher->fd];
    assert(slot->watcher == watcher);
    if (watcher->registered != 0) {
        backend_set(poller->fd, watcher->fd, watcher->registered, 0, &slot->generation);
    }
    slot->watcher = NULL;
    poller->watched--;
    list_remove(&watcher->changed);
    watcher->fd = -1;
    watcher->wanted = 0;
    watcher->registered = 0;
}

/* -- waiting and dispatching ------------------------------------------------------- */

static inline bool
poller_is_prepared(const Poller *poller)
{
    return poller->fork_id == platform_forks && poller->fd >= 0 && poller->batch != NULL
           && list_is_empty(&poller->changes) && poller->stale < CL_POLLER_STALE_MAX;
}

int
poller_prepare(Poller *poller)
{
    poller_check_fork(poller);
    if (poller->batch == NULL) {
        poller->batch = malloc(CL_POLLER_BATCH * sizeof(PollerEvent));
        if (poller->batch == NULL) {
            return -ENOMEM;
        }
    }
    int rc = poller_open(poller);
    if (rc < 0) {
        return rc;
    }
    if (CL_UNLIKELY(poller->stale >= CL_POLLER_STALE_MAX)) {
        poller_rebuild(poller);
    }
    List *node;
    while ((node = list_pop(&poller->changes)) != NULL) {
        Watcher *watcher = CL_CONTAINER_OF(node, Watcher, changed);
        if (poller_apply(poller, watcher) < 0) {
            list_append(&poller->failed, node);
        }
    }
    return 0;
}

int
poller_wait(Poller *poller, int64_t timeout_ns)
{
    if (CL_UNLIKELY(!poller_is_prepared(poller))) {
        if (poller->watched == 0 && timeout_ns == 0) {
            return 0; /* nobody to hear of anything: do not open a set for it */
        }
        int rc = poller_prepare(poller);
        if (rc < 0) {
            return rc;
        }
    }
    if (CL_UNLIKELY(poller->batch_next < poller->batch_count)) {
        return poller->batch_count - poller->batch_next;
    }
    int failed = !list_is_empty(&poller->failed);
    poller->batch_next = 0;
    poller->batch_count = 0;
    int rc = backend_wait(poller->fd, poller->batch, failed ? 0 : timeout_ns);
    if (rc < 0) {
        return failed ? 1 : rc;
    }
    poller->batch_count = rc;
    return rc + failed;
}

static inline Watcher *
poller_watcher_of(const Poller *poller, const PollerEvent *event)
{
    if (CL_UNLIKELY((size_t)event->fd >= poller->slot_count)) {
        return NULL;
    }
    PollerSlot *slot = &poller->slots[event->fd];
    return slot->generation == event->generation ? slot->watcher : NULL;
}

void
poller_count_stale(Poller *poller)
{
    poller_check_fork(poller);
    for (int i = 0; i < poller->batch_count; i++) {
        if (CL_UNLIKELY(poller_watcher_of(poller, &poller->batch[i]) == NULL)) {
            poller->stale++;
            return;
        }
    }
    poller->stale = 0;
}

int
poller_dispatch_next(Poller *poller)
{
    /* on_ready may do anything, closing the poller included: nothing is kept over it. */
    poller_check_fork(poller);
    List *node = list_pop(&poller->failed);
    if (CL_UNLIKELY(node != NULL)) {
        Watcher *watcher = CL_CONTAINER_OF(node, Watcher, changed);
        return watcher->ops->on_ready(watcher, CL_ERROR) < 0 ? -1 : 1;
    }
    while (poller->batch_next < poller->batch_count) {
        const PollerEvent *event = &poller->batch[poller->batch_next++];
        Watcher *watcher = poller_watcher_of(poller, event);
        if (watcher == NULL || watcher->wanted == 0) {
            continue;
        }
        unsigned events = event->events & (watcher->wanted | CL_HANGUP | CL_ERROR);
        if (events != 0) {
            return watcher->ops->on_ready(watcher, events) < 0 ? -1 : 1;
        }
    }
    return 0;
}
