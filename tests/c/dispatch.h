/* What the loop does with the events of a poll, for the tests. */
#ifndef CL_TESTS_DISPATCH_H
#define CL_TESTS_DISPATCH_H

#include "os/poller.h"

/* Runs on_ready for all of the fetched events. 0 or -1. */
static inline int
poller_dispatch(Poller *poller)
{
    int rc;
    do {
        rc = poller_dispatch_next(poller);
    } while (rc > 0);
    return rc;
}

#endif
