"""The receiver of RDMA devices: datagrams of RoCE, or whole frames, taken from the device's own memory ring."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from feedhandler._records cimport Packet
from feedhandler.receive._frame cimport fh_steer
from feedhandler.receive._receiver cimport RECEIVE_BATCH, Receiver
from feedhandler.receive._sockets cimport SocketReceiver
from feedhandler.receive._verbs cimport fh_ack_events, fh_cq, fh_get_event, fh_qp
from feedhandler.receive._wait cimport pollfd

cdef struct Done:               # a completion, whichever loop brought it
    uint64_t slot
    int64_t hardware            # the NIC's time, ns since the Unix epoch; 0 = none
    uint32_t status
    uint32_t len                # bytes in the slot, headers included
    uint32_t flags

cdef struct Port:               # one device's port: a completion queue, a queue pair, a ring of slots
    fh_cq *cq                   # NULL = the loop is pyverbs'
    fh_qp *qp
    fh_get_event get_event
    fh_ack_events ack_events
    uint8_t *memory
    uint32_t slots
    uint32_t slot_bytes
    uint32_t lkey
    int first_line              # that counts what belongs to no line of this port
    uint64_t lines              # bit per line
    uint64_t drops              # of the device, counted so far
    int fd                      # of the completion channel
    bint extended               # the queue is an ibv_cq_ex ...
    bint stamps                 # ... whose completions have the NIC's time
    bint armed                  # the next completion wakes the channel
    bint failed                 # the queue pair is in its error state, or the device is gone
    const fh_steer *steer
    uint32_t *owed              # slots that are to be posted again
    uint32_t owed_count
    uint32_t batch              # so many are posted at once
    Done waiting[RECEIVE_BATCH] # completions that wait() took in advance
    int waiting_at
    int waiting_count

cdef class RdmaReceiver(Receiver):
    """One completion queue for each port, all polled in turn."""
    cdef Port *table
    cdef readonly int ports
    cdef pollfd *pollfds                    # channels, then the join sockets
    cdef bint raw                           # slots hold frames, not datagrams behind a GRH
    cdef bint closed
    cdef bint lent                          # the join sockets gave the packets of the last poll()
    cdef int next_port
    cdef int joined_lines
    cdef int64_t joined_at                  # when the join sockets were asked last, CLOCK_REALTIME
    cdef uint32_t since_joined              # packets taken since
    cdef SocketReceiver joined
    cdef list places, loops
    cdef object mode

    cdef int fetch(self, int number, Done *out, int want) noexcept nogil
    cdef int fetch_extended(self, Port *port, Done *out, int want) noexcept nogil
    cdef int fetch_pyverbs(self, int number, Done *out, int want) noexcept with gil
    cdef int take(self, int number, Packet *out, int capacity) noexcept nogil
    cdef bint accept(self, Port *port, const Done *done, int64_t clock, Packet *out) noexcept nogil
    cdef int take_joined(self, Packet *out, int capacity) noexcept nogil
    cdef void post(self, int number) noexcept nogil
    cdef int post_pyverbs(self, int number) noexcept with gil
    cdef int arm(self, int number) noexcept nogil
    cdef int arm_pyverbs(self, int number) noexcept with gil
    cdef void wake(self, int number) noexcept nogil
    cdef int wake_pyverbs(self, int number) noexcept with gil
    cdef void fail(self, int number, int error) noexcept nogil
    cdef void share_counters(self) noexcept
