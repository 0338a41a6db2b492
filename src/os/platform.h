/* What every floor may use: compiler hints and build switches. No Python.h here.
 *
 * CLOOP_NO_FASTPATH and CLOOP_NO_FREELIST are build variants that must give the same
 * answers as the ordinary build (see CONTRIBUTING.md); code asks CL_FASTPATH and
 * CL_FREELIST so that both branches are always compiled. */
#ifndef CL_OS_PLATFORM_H
#define CL_OS_PLATFORM_H

/* Before any system header: every .c of this floor includes one of ours first.
 * (Python's own configuration defines the same.) */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <stddef.h>
#include <stdint.h>

#define CL_LIKELY(x) __builtin_expect(!!(x), 1)
#define CL_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define CL_UNUSED(x) ((void)(x))
#define CL_COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define CL_CONTAINER_OF(ptr, type, member)                                             \
    ((type *)((char *)(ptr)-offsetof(type, member)))

#ifdef CLOOP_NO_FASTPATH
#define CL_FASTPATH 0
#else
#define CL_FASTPATH 1
#endif

#if defined(CLOOP_NO_FREELIST) || defined(Py_GIL_DISABLED)
#define CL_FREELIST 0
#else
#define CL_FREELIST 1
#endif

#define CL_NS_PER_SECOND INT64_C(1000000000)
#define CL_NEVER_NS INT64_MAX

/* How often this process is a forked child of the one that loaded us, counted from the
 * first platform_watch_forks(). What belongs to one process (a poller's set, a wake-up)
 * keeps the number and is made anew when it differs. Counted by pthread_atfork: vfork,
 * posix_spawn and clone do not count, and only exec may follow those. */
extern uint32_t platform_forks;

/* Begins counting; any number of calls, from any thread. */
void platform_watch_forks(void);

#endif
