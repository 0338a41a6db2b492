/* The fork counter. Called by pollers and wake-ups when they are made, on any thread;
 * the counter changes only in a new child, before anything else runs there, when the
 * process has one thread: so it needs no atomic. */
#include "platform.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

uint32_t platform_forks = 0;

static void
platform_in_child(void)
{
    platform_forks++;
}

/* Two threads may both get through the test: a fork then counts twice, and differs all
 * the same. When the registration fails (no memory) the next call tries again. */
void
platform_watch_forks(void)
{
    static atomic_bool watching = false;

    if (atomic_load_explicit(&watching, memory_order_acquire)) {
        return;
    }
    if (pthread_atfork(NULL, NULL, platform_in_child) == 0) {
        atomic_store_explicit(&watching, true, memory_order_release);
    }
}
