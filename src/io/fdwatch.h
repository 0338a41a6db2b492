/* FdWatch: one per descriptor that add_reader/add_writer or a sock_* operation waits on.
 * It lives in the loop's poller (poller_find gives the Watcher embedded in it) and stays
 * registered between operations on the same socket, so that a message costs no
 * epoll_ctl. A watcher of another kind on the descriptor is a transport's: the user gets
 * stock's "File descriptor N is used by transport T". */
#ifndef CL_IO_FDWATCH_H
#define CL_IO_FDWATCH_H

#include "../core/handle.h"

/* loop.add_reader / remove_reader ... : direction is CL_READABLE or CL_WRITABLE.
 * fileobj: an int or an object with fileno(); errors as selectors gives them. */
PyObject *fdwatch_add(Loop *loop, unsigned direction, PyObject *fileobj,
                      PyObject *callback, PyObject *const *args, Py_ssize_t nargs);
PyObject *fdwatch_remove(Loop *loop, unsigned direction, PyObject *fileobj);

#endif
