/* The module's state: one per interpreter, reachable from every object of ours.
 *
 * CL_STATE_OBJECTS lists every Python object that the state holds; the struct, its
 * making, traverse and clear are expanded from it (state.c). */
#ifndef CL_PY_STATE_H
#define CL_PY_STATE_H

#include "compat.h"
#include "spares.h"

#include <stdbool.h>

/* Types of ours, made by the floors in order (_cloop.c). */
#define CL_STATE_TYPES(X)                                                              \
    X(HandleType)                                                                      \
    X(SafeHandleType)                                                                  \
    X(TimerHandleType)                                                                 \
    X(FutureType)                                                                      \
    X(FutureIterType)                                                                  \
    X(TaskType)                                                                        \
    X(LoopType)                                                                        \
    X(StreamTransportType)                                                             \
    X(DatagramTransportType)                                                           \
    X(ReadPipeTransportType)                                                           \
    X(WritePipeTransportType)                                                          \
    X(ListenerType)                                                                    \
    X(SSLTransportType)                                                                \
    X(SockOpType)                                                                      \
    X(ReaderOpType)                                                                    \
    X(NativeReaderType)                                                                \
    X(NativeWriterType)                                                                \
    X(NativeProtocolType)

/* Objects of the standard library: X(member, module, attribute path, required). */
#define CL_STATE_IMPORTS(X)                                                            \
    X(asyncio_Future, "_asyncio", "Future", 1)                                         \
    X(asyncio_Task, "_asyncio", "Task", 1)                                             \
    X(asyncio_Handle, "asyncio.events", "Handle", 1)                                   \
    X(asyncio_TimerHandle, "asyncio.events", "TimerHandle", 1)                         \
    X(asyncio_ThreadSafeHandle, "asyncio.events", "_ThreadSafeHandle",                 \
      0) /* 3.14 on */                                                                 \
    X(set_running_loop, "asyncio.events", "_set_running_loop", 1)                      \
    X(get_running_loop, "asyncio.events", "_get_running_loop", 1)                      \
    X(get_event_loop, "asyncio.events", "get_event_loop", 1)                           \
    X(InvalidStateError, "asyncio.exceptions", "InvalidStateError", 1)                 \
    X(CancelledError, "asyncio.exceptions", "CancelledError", 1)                       \
    X(future_repr_info, "asyncio.base_futures", "_future_repr_info", 1)                \
    X(task_repr_info, "asyncio.base_tasks", "_task_repr_info", 1)                      \
    X(future_repr, "asyncio.base_futures", "_future_repr", 0) /* 3.11 on */            \
    X(task_repr, "asyncio.base_tasks", "_task_repr", 0)       /* 3.11 on */            \
    X(add_awaited_by, "asyncio.futures", "future_add_to_awaited_by", 0)                \
    X(discard_awaited_by, "asyncio.futures", "future_discard_from_awaited_by", 0)      \
    X(task_get_stack, "asyncio.base_tasks", "_task_get_stack", 1)                      \
    X(task_print_stack, "asyncio.base_tasks", "_task_print_stack", 1)                  \
    X(iscoroutine, "asyncio.coroutines", "iscoroutine", 1)                             \
    X(iscoroutinefunction, "asyncio.coroutines", CL_ISCOROUTINEFUNCTION, 1)            \
    X(isfuture, "asyncio.base_futures", "isfuture", 1)                                 \
    X(extract_stack, "asyncio.format_helpers", "extract_stack", 1)                     \
    X(traceback_extract_stack, "traceback", "extract_stack", 1)                        \
    X(format_callback_source, "asyncio.format_helpers", "_format_callback_source", 1)  \
    X(set_result_unless_cancelled, "asyncio.futures", "_set_result_unless_cancelled",  \
      1)                                                                               \
    X(run_until_complete_cb, "asyncio.base_events", "_run_until_complete_cb", 1)       \
    X(ensure_future, "asyncio.tasks", "ensure_future", 1)                              \
    X(enter_task, "asyncio.tasks", "_enter_task", 1)                                   \
    X(leave_task, "asyncio.tasks", "_leave_task", 1)                                   \
    X(register_task, "asyncio.tasks", "_register_task", 1)                             \
    X(unregister_task, "asyncio.tasks", "_unregister_task", 1)                         \
    X(swap_current_task, "asyncio.tasks", "_swap_current_task", 0)                     \
    X(register_eager_task, "asyncio.tasks", "_register_eager_task", 0)                 \
    X(unregister_eager_task, "asyncio.tasks", "_unregister_eager_task", 0)             \
    X(eager_tasks, "asyncio.tasks", "_eager_tasks", 0)                                 \
    X(current_tasks, "asyncio.tasks", "_current_tasks", 0)                             \
    X(all_tasks, "asyncio.tasks", "_all_tasks", 0)             /* to 3.11 */           \
    X(scheduled_tasks, "asyncio.tasks", "_scheduled_tasks", 0) /* 3.12 on */           \
    X(ensure_resolved, "asyncio.base_events", "BaseEventLoop._ensure_resolved", 1)     \
    X(check_ssl_socket, "asyncio.base_events", "_check_ssl_socket", 0)                 \
    X(check_ssl_socket_38, "asyncio.selector_events", "_check_ssl_socket", 0)          \
    X(asyncio_Transport, "asyncio.transports", "Transport", 1)                         \
    X(asyncio_DatagramTransport, "asyncio.transports", "DatagramTransport", 1)         \
    X(asyncio_ReadTransport, "asyncio.transports", "ReadTransport", 1)                 \
    X(TransportSocket, "asyncio.trsock", "TransportSocket", 1)                         \
    X(BufferedProtocol, "asyncio.protocols", "BufferedProtocol", 1)                    \
    X(FlowControlMixin, "asyncio.transports", "_FlowControlMixin", 1)                  \
    X(asyncio_TimeoutError, "asyncio.exceptions", "TimeoutError", 1)                   \
    X(ssl_module, "asyncio.sslproto", "ssl", 0) /* None: Python has no ssl module */   \
    X(SSLObject, "asyncio.sslproto", "ssl.SSLObject", 0)                               \
    X(SSLSocketType, "asyncio.sslproto", "ssl._ssl._SSLSocket", 0)                     \
    X(SSLContextType, "asyncio.sslproto", "ssl._ssl._SSLContext", 0)                   \
    X(SSLError, "asyncio.sslproto", "ssl.SSLError", 0)                                 \
    X(SSLWantReadError, "asyncio.sslproto", "ssl.SSLWantReadError", 0)                 \
    X(SSLSyscallError, "asyncio.sslproto", "ssl.SSLSyscallError", 0)                   \
    X(SSLZeroReturnError, "asyncio.sslproto", "ssl.SSLZeroReturnError", 0)             \
    X(SSLEOFError, "asyncio.sslproto", "ssl.SSLEOFError", 0)                           \
    X(SSLCertVerificationError, "asyncio.sslproto", "ssl.SSLCertVerificationError", 0) \
    X(stock_write, "asyncio.selector_events", "_SelectorSocketTransport.write", 1)     \
    X(update_position_arity, "asyncio.unix_events",                                    \
      "_UnixSelectorEventLoop._sock_sendfile_update_filepos.__code__.co_argcount", 1)  \
    X(sendfile_native, "asyncio.constants", "_SendfileMode.TRY_NATIVE", 1)             \
    X(sendfile_fallback, "asyncio.constants", "_SendfileMode.FALLBACK", 1)             \
    X(SendfileNotAvailableError, "asyncio.exceptions", "SendfileNotAvailableError", 1) \
    X(UnsupportedOperation, "io", "UnsupportedOperation", 1)                           \
    X(socket_socket, "socket", "socket", 1)                                            \
    X(sock_fileno, "_socket", "socket.fileno", 1)                                      \
    X(sock_family, "_socket", "socket.family", 1)                                      \
    X(sock_type, "_socket", "socket.type", 1)                                          \
    X(sock_proto, "_socket", "socket.proto", 1)                                        \
    X(StreamReader, "asyncio.streams", "StreamReader", 1)                              \
    X(StreamWriter, "asyncio.streams", "StreamWriter", 1)                              \
    X(StreamReaderProtocol, "asyncio.streams", "StreamReaderProtocol", 1)              \
    X(streams_dict, "asyncio.streams", "__dict__", 1)                                  \
    X(IncompleteReadError, "asyncio.exceptions", "IncompleteReadError", 1)             \
    X(deque, "collections", "deque", 1)                                                \
    X(SimpleNamespace, "types", "SimpleNamespace", 1)                                  \
    X(logger, "asyncio.log", "logger", 1)                                              \
    X(get_asyncgen_hooks, "sys", "get_asyncgen_hooks", 1)                              \
    X(set_asyncgen_hooks, "sys", "set_asyncgen_hooks", 1)                              \
    X(get_origin_depth, "sys", "get_coroutine_origin_tracking_depth", 1)               \
    X(set_origin_depth, "sys", "set_coroutine_origin_tracking_depth", 1)               \
    X(base_create_task, "asyncio.base_events", "BaseEventLoop.create_task", 1)

/* Interned strings: X(member, text). Add freely, in order. */
#define CL_STATE_NAMES(X)                                                              \
    X(str_abort, "abort")                                                              \
    X(str_accept, "accept")                                                            \
    X(str_add_done_callback, "add_done_callback")                                      \
    X(str_anext, "__anext__")                                                          \
    X(str_args, "args")                                                                \
    X(str_asyncgen_finalizer_hook, "_asyncgen_finalizer_hook")                         \
    X(str_asyncgen_firstiter_hook, "_asyncgen_firstiter_hook")                         \
    X(str_asyncio_future_blocking, "_asyncio_future_blocking")                         \
    X(str_attach, "_attach")                                                           \
    X(str_buffer, "_buffer")                                                           \
    X(str_buffer_updated, "buffer_updated")                                            \
    X(str_call_at, "call_at")                                                          \
    X(str_call_connection_lost, "_call_connection_lost")                               \
    X(str_call_exception_handler, "call_exception_handler")                            \
    X(str_call_later, "call_later")                                                    \
    X(str_call_soon, "call_soon")                                                      \
    X(str_callback, "callback")                                                        \
    X(str_cancel, "cancel")                                                            \
    X(str_check_handshake, "_check_handshake_timeout")                                 \
    X(str_check_shutdown, "_check_shutdown_timeout")                                   \
    X(str_class, "__class__")                                                          \
    X(str_client_connected_cb, "_client_connected_cb")                                 \
    X(str_close, "close")                                                              \
    X(str_closed, "_closed")                                                           \
    X(str_complete_fut, "_complete_fut")                                               \
    X(str_connect, "connect")                                                          \
    X(str_connection_lost, "connection_lost")                                          \
    X(str_connection_lost_flag, "_connection_lost")                                    \
    X(str_connection_made, "connection_made")                                          \
    X(str_context, "context")                                                          \
    X(str_coro, "coro")                                                                \
    X(str_create_future, "create_future")                                              \
    X(str_create_task, "create_task")                                                  \
    X(str_data_received, "data_received")                                              \
    X(str_datagram_received, "datagram_received")                                      \
    X(str_debug, "debug")                                                              \
    X(str_detach, "_detach")                                                           \
    X(str_do_handshake, "do_handshake")                                                \
    X(str_do_read, "_do_read")                                                         \
    X(str_drain, "drain")                                                              \
    X(str_drain_helper, "_drain_helper")                                               \
    X(str_drain_waiters, "_drain_waiters")                                             \
    X(str_eager_start, "eager_start")                                                  \
    X(str_eof_received, "eof_received")                                                \
    X(str_error_received, "error_received")                                            \
    X(str_exception, "exception")                                                      \
    X(str_family, "family")                                                            \
    X(str_feed_data, "feed_data")                                                      \
    X(str_fileno, "fileno")                                                            \
    X(str_force_close, "_force_close")                                                 \
    X(str_future, "future")                                                            \
    X(str_get_buffer, "get_buffer")                                                    \
    X(str_get_debug, "get_debug")                                                      \
    X(str_get_extra_info, "get_extra_info")                                            \
    X(str_get_loop, "get_loop")                                                        \
    X(str_getsockopt, "getsockopt")                                                    \
    X(str_gettimeout, "gettimeout")                                                    \
    X(str_handle, "handle")                                                            \
    X(str_is_closing, "is_closing")                                                    \
    X(str_is_running, "is_running")                                                    \
    X(str_limit, "_limit")                                                             \
    X(str_log_destroy_pending, "_log_destroy_pending")                                 \
    X(str_loop, "loop")                                                                \
    X(str_maybe_resume_transport, "_maybe_resume_transport")                           \
    X(str_message, "message")                                                          \
    X(str_msg, "msg")                                                                  \
    X(str_name, "name")                                                                \
    X(str_pause_reading, "pause_reading")                                              \
    X(str_pause_writing, "pause_writing")                                              \
    X(str_paused, "_paused")                                                           \
    X(str_pending, "pending")                                                          \
    X(str_private_eof, "_eof")                                                         \
    X(str_private_exception, "_exception")                                             \
    X(str_private_loop, "_loop")                                                       \
    X(str_private_protocol, "_protocol")                                               \
    X(str_private_reader, "_reader")                                                   \
    X(str_private_transport, "_transport")                                             \
    X(str_private_waiter, "_waiter")                                                   \
    X(str_proto, "proto")                                                              \
    X(str_read, "read")                                                                \
    X(str_read_ready, "_read_ready")                                                   \
    X(str_readexactly, "readexactly")                                                  \
    X(str_readline, "readline")                                                        \
    X(str_readuntil, "readuntil")                                                      \
    X(str_recv, "recv")                                                                \
    X(str_recv_into, "recv_into")                                                      \
    X(str_recvfrom, "recvfrom")                                                        \
    X(str_recvfrom_into, "recvfrom_into")                                              \
    X(str_remove_done_callback, "remove_done_callback")                                \
    X(str_repr_info, "_repr_info")                                                     \
    X(str_result, "result")                                                            \
    X(str_resume, "_resume")                                                           \
    X(str_resume_reading, "resume_reading")                                            \
    X(str_resume_writing, "resume_writing")                                            \
    X(str_run_forever, "run_forever")                                                  \
    X(str_self, "__self__")                                                            \
    X(str_send, "send")                                                                \
    X(str_sendto, "sendto")                                                            \
    X(str_sendto_ready, "_sendto_ready")                                               \
    X(str_set_result, "set_result")                                                    \
    X(str_setblocking, "setblocking")                                                  \
    X(str_shutdown, "shutdown")                                                        \
    X(str_sock, "_sock")                                                               \
    X(str_source_traceback, "source_traceback")                                        \
    X(str_start_reading, "_start_reading")                                             \
    X(str_stop, "stop")                                                                \
    X(str_stream_reader_wr, "_stream_reader_wr")                                       \
    X(str_task, "task")                                                                \
    X(str_throw, "throw")                                                              \
    X(str_time, "time")                                                                \
    X(str_timer_handle_cancelled, "_timer_handle_cancelled")                           \
    X(str_type, "type")                                                                \
    X(str_unwrap, "unwrap")                                                            \
    X(str_wait_for_data, "_wait_for_data")                                             \
    X(str_wakeup_waiter, "_wakeup_waiter")                                             \
    X(str_write, "write")                                                              \
    X(str_write_ready, "_write_ready")

typedef struct State {
#define CL_MEMBER(name) PyTypeObject *name;
    CL_STATE_TYPES(CL_MEMBER)
#undef CL_MEMBER
#define CL_MEMBER(name, module, path, required) PyObject *name;
    CL_STATE_IMPORTS(CL_MEMBER)
#undef CL_MEMBER
#define CL_MEMBER(name, text) PyObject *name;
    CL_STATE_NAMES(CL_MEMBER)
#undef CL_MEMBER
    PyObject *empty_tuple;
    bool is_dev_mode;         /* sys.flags.dev_mode */
    bool ignores_environment; /* sys.flags.ignore_environment */
    PyObject *spare_stop;     /* stop.c: a StopIteration to be used again, or NULL */
    PyObject *names_loop;     /* ("loop",) */
    PyObject *names_context;  /* ("context",): the kwnames of many calls */
    PyObject *task_registry;  /* the WeakSet's own `data` set, or NULL (3.14 on) */
    PyObject *registry_iterating; /* its set of running iterations; with the former */
    PyObject *tls_why; /* None: TLS the direct way; a str: why not; NULL: not asked */
    PyObject *registry_pending; /* its list of references to be dropped after them */
    /* Versions of asyncio's stream classes as last found unpatched (reader.c); 0: look. */
    Spares spares;               /* memory for the readers' buffers */
    unsigned stream_versions[3]; /* [ReaderClass] */
    /* The keys of their instances' dicts, or NULL, and where the attributes stand there,
     * [ReaderField] (reader_fields.c). */
    const void *stream_keys[3];
    uint8_t stream_places[17];
    bool knows_stream_keys[3];
    CL_SHARED uint64_t next_task_name;
    /* Offsets in asyncio.Task's own struct; 0: not known (task_registry.c). */
    size_t shown_coro;
    size_t shown_name;
    size_t shown_is_task;
    int pysock_layout; /* CL_PYSOCK_*: pysock.h */
} State;

/* Fills in imports and names, checks the base types' sizes. 0 or -1. */
int state_init(State *state);
int state_traverse(State *state, visitproc visit, void *arg);
void state_clear(State *state);

/* Borrowed; the state of the _cloop module that made `type` or a base of it. Any
 * subclass will do. NULL with TypeError when there is none. */
State *state_of_type(PyTypeObject *type);

/* The module definition, for state_of_type (in _cloop.c). */
extern struct PyModuleDef cloop_module_def;

/* Makes a heap type from spec (base: NULL, a borrowed type or a tuple of types), stores it
 * in *slot and adds it to the module under its short name unless the name starts with
 * '_'. 0 or -1. */
int state_add_type(PyObject *module, PyType_Spec *spec, PyObject *base,
                   PyTypeObject **slot);

#endif
