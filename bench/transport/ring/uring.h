/* A ring of io_uring that receives messages of sockets into buffers of its own.
 *
 * These are the parts of the kernel's interface that are needed (linux/io_uring.h, Linux 6.0), so
 * that no header and no library of it is required. The raw system calls have no wrapper in libc.
 */
#ifndef RTBENCH_URING_H
#define RTBENCH_URING_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The same numbers on all architectures that have had io_uring from the start. */
#ifndef __NR_io_uring_setup
#define __NR_io_uring_setup 425
#define __NR_io_uring_enter 426
#define __NR_io_uring_register 427
#endif

enum {
    URING_OP_RECVMSG = 10,
    URING_OP_ASYNC_CANCEL = 14,
    URING_BUFFER_SELECT = 1 << 5,  /* IOSQE_BUFFER_SELECT */
    URING_RECV_MULTISHOT = 1 << 1,
    URING_SETUP_CQSIZE = 1 << 3,
    URING_SETUP_CLAMP = 1 << 4,
    URING_SETUP_COOP_TASKRUN = 1 << 8,
    URING_ENTER_GETEVENTS = 1 << 0,
    URING_SQ_CQ_OVERFLOW = 1 << 1,
    URING_CQ_EVENTFD_DISABLED = 1 << 0,
    URING_FEAT_SINGLE_MMAP = 1 << 0,
    URING_FEAT_NODROP = 1 << 1,
    URING_REGISTER_EVENTFD = 4,
    URING_REGISTER_PBUF_RING = 22,
    URING_CQE_BUFFER = 1 << 0,  /* the upper 16 bits of the flags are the number of the buffer */
    URING_CQE_MORE = 1 << 1,    /* the request remains armed */
    URING_CQE_NONEMPTY = 1 << 2,  /* the socket has more bytes than the buffer could take */
    URING_CQE_SHIFT = 16,
    URING_CONTROL = 64,         /* room for control messages in each buffer */
    URING_GROUP = 0,
};
#define URING_OFF_RINGS 0ULL
#define URING_OFF_SQES 0x10000000ULL

struct uring_sqe {
    uint8_t opcode, flags;
    uint16_t ioprio;
    int32_t fd;
    uint64_t off, addr;
    uint32_t len, op_flags;
    uint64_t user_data;
    uint16_t buf_group, personality;
    int32_t splice_fd_in;
    uint64_t pad[2];
};

struct uring_cqe {
    uint64_t user_data;
    int32_t res;
    uint32_t flags;
};

struct uring_params {
    uint32_t sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd, resv[3];
    struct {
        uint32_t head, tail, mask, entries, flags, dropped, array, resv1;
        uint64_t resv2;
    } sq;
    struct {
        uint32_t head, tail, mask, entries, overflow, cqes, flags, resv1;
        uint64_t resv2;
    } cq;
};

struct uring_buf {
    uint64_t addr;
    uint32_t len;
    uint16_t bid, tail;  /* the tail of the ring of buffers is in the first entry */
};

struct uring_buf_reg {
    uint64_t ring_addr;
    uint32_t entries;
    uint16_t group, flags;
    uint64_t resv[3];
};

/* What precedes the payload in a buffer of multishot recvmsg, with the control messages. */
struct uring_message {
    uint32_t namelen, controllen, payloadlen, flags;
    unsigned char control[URING_CONTROL];
};

struct uring {
    int fd, event_fd;
    unsigned char *rings;
    size_t rings_size, sqes_size, pool_size;
    uint32_t *sq_tail, *sq_head, *sq_flags, *sq_array, *cq_head, *cq_tail, *cq_flags;
    uint32_t sq_mask, sq_entries, cq_mask, queued;
    struct uring_sqe *sqes;
    struct uring_cqe *cqes;
    struct uring_buf *free_list;  /* the ring of buffers, then the buffers */
    unsigned char *buffers;
    uint32_t buffer_count, buffer_size;
    uint16_t free_tail;
    struct msghdr form;
};

/* A fork must not share the memory of a ring: the child has none of it. */
static void *uring_map(size_t size, int fd, uint64_t offset)
{
    int flags = fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED | MAP_POPULATE;
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, (off_t)offset);
    if (at != MAP_FAILED)
        madvise(at, size, MADV_DONTFORK);
    return at == MAP_FAILED ? NULL : at;
}

static void uring_give_back(struct uring *ring, uint16_t bid)
{
    struct uring_buf *entry = &ring->free_list[ring->free_tail & (ring->buffer_count - 1)];
    entry->addr = (uint64_t)(uintptr_t)(ring->buffers + (size_t)bid * ring->buffer_size);
    entry->len = ring->buffer_size;
    entry->bid = bid;
    ring->free_tail++;
}

static void uring_publish(struct uring *ring)
{
    __atomic_store_n(&ring->free_list[0].tail, ring->free_tail, __ATOMIC_RELEASE);
}

/* Close the descriptors of a ring. The memory remains: a fork has not copied it. */
static void uring_abandon(struct uring *ring)
{
    if (ring->fd >= 0)
        close(ring->fd);
    if (ring->event_fd >= 0)
        close(ring->event_fd);
    memset(ring, 0, sizeof(*ring));
    ring->fd = ring->event_fd = -1;
}

/* Close a ring. The kernel ends its requests. */
static void uring_close(struct uring *ring)
{
    if (ring->rings)
        munmap(ring->rings, ring->rings_size);
    if (ring->sqes)
        munmap(ring->sqes, ring->sqes_size);
    if (ring->free_list)
        munmap(ring->free_list, ring->pool_size);
    uring_abandon(ring);
}

/* Open a ring with `count` buffers, a power of two. Return 0, or the number of an error.
 *
 * Only the thread that opens it may use it. The kernel receives in the task work of this thread,
 * which follows its next system call or interrupt. Without COOP_TASKRUN each segment would interrupt
 * the thread, which costs more than the receive. */
static int uring_open(struct uring *ring, uint32_t count, uint32_t size, uint32_t completions)
{
    struct uring_params params;
    struct uring_buf_reg reg;
    size_t sq_size, cq_size, list_size;
    int error;
    memset(ring, 0, sizeof(*ring));
    ring->fd = ring->event_fd = -1;
    memset(&params, 0, sizeof(params));
    memset(&reg, 0, sizeof(reg));
    params.flags = URING_SETUP_CQSIZE | URING_SETUP_CLAMP | URING_SETUP_COOP_TASKRUN;
    params.cq_entries = completions;
    ring->fd = (int)syscall(__NR_io_uring_setup, 256, &params);
    if (ring->fd < 0)
        return errno;
    if (!(params.features & URING_FEAT_SINGLE_MMAP) || !(params.features & URING_FEAT_NODROP)) {
        uring_close(ring);
        return ENOSYS;
    }
    sq_size = params.sq.array + params.sq_entries * sizeof(uint32_t);
    cq_size = params.cq.cqes + params.cq_entries * sizeof(struct uring_cqe);
    ring->rings_size = sq_size > cq_size ? sq_size : cq_size;
    ring->sqes_size = params.sq_entries * sizeof(struct uring_sqe);
    list_size = (count * sizeof(struct uring_buf) + 4095) / 4096 * 4096;
    ring->pool_size = list_size + (size_t)count * size;
    ring->rings = uring_map(ring->rings_size, ring->fd, URING_OFF_RINGS);
    ring->sqes = uring_map(ring->sqes_size, ring->fd, URING_OFF_SQES);
    ring->free_list = uring_map(ring->pool_size, -1, 0);
    if (!ring->rings || !ring->sqes || !ring->free_list) {
        error = errno;
        uring_close(ring);
        return error;
    }
    ring->sq_head = (uint32_t *)(ring->rings + params.sq.head);
    ring->sq_tail = (uint32_t *)(ring->rings + params.sq.tail);
    ring->sq_flags = (uint32_t *)(ring->rings + params.sq.flags);
    ring->sq_array = (uint32_t *)(ring->rings + params.sq.array);
    ring->sq_mask = *(uint32_t *)(ring->rings + params.sq.mask);
    ring->sq_entries = params.sq_entries;
    ring->cq_head = (uint32_t *)(ring->rings + params.cq.head);
    ring->cq_tail = (uint32_t *)(ring->rings + params.cq.tail);
    ring->cq_mask = *(uint32_t *)(ring->rings + params.cq.mask);
    ring->cq_flags = (uint32_t *)(ring->rings + params.cq.flags);
    ring->cqes = (struct uring_cqe *)(ring->rings + params.cq.cqes);
    ring->buffers = (unsigned char *)ring->free_list + list_size;
    ring->buffer_count = count;
    ring->buffer_size = size;
    ring->form.msg_controllen = URING_CONTROL;
    reg.ring_addr = (uint64_t)(uintptr_t)ring->free_list;
    reg.entries = count;
    reg.group = URING_GROUP;
    ring->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    *ring->cq_flags = URING_CQ_EVENTFD_DISABLED;
    if (ring->event_fd < 0
        || syscall(__NR_io_uring_register, ring->fd, URING_REGISTER_EVENTFD, &ring->event_fd, 1) < 0
        || syscall(__NR_io_uring_register, ring->fd, URING_REGISTER_PBUF_RING, &reg, 1) < 0) {
        error = errno;
        uring_close(ring);
        return error;
    }
    for (uint32_t bid = 0; bid < count; bid++)
        uring_give_back(ring, (uint16_t)bid);
    uring_publish(ring);
    return 0;
}

/* Submit what is queued, receive what has arrived, and flush the overflow of completions. Return 0,
 * or the number of an error. Newer kernels receive only for twenty sockets at a time. */
static int uring_enter(struct uring *ring)
{
    long done = syscall(
        __NR_io_uring_enter, ring->fd, ring->queued, 0, URING_ENTER_GETEVENTS, NULL, 0);
    if (done < 0)
        return errno;
    ring->queued -= (uint32_t)done < ring->queued ? (uint32_t)done : ring->queued;
    return 0;
}

/* Return the next free request, cleared; NULL if the queue remains full. */
static struct uring_sqe *uring_next(struct uring *ring)
{
    uint32_t tail = *ring->sq_tail, place;
    if (tail - __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE) >= ring->sq_entries) {
        uring_enter(ring);
        if (tail - __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE) >= ring->sq_entries)
            return NULL;
    }
    place = tail & ring->sq_mask;
    ring->sq_array[place] = place;
    memset(&ring->sqes[place], 0, sizeof(struct uring_sqe));
    return &ring->sqes[place];
}

static void uring_queue(struct uring *ring)
{
    __atomic_store_n(ring->sq_tail, *ring->sq_tail + 1, __ATOMIC_RELEASE);
    ring->queued++;
}

/* Queue a request that receives from a socket until it is cancelled. Return whether it is queued. */
static int uring_receive(struct uring *ring, int fd, uint64_t user_data)
{
    struct uring_sqe *sqe = uring_next(ring);
    if (!sqe)
        return 0;
    sqe->opcode = URING_OP_RECVMSG;
    sqe->flags = URING_BUFFER_SELECT;
    sqe->ioprio = URING_RECV_MULTISHOT;
    sqe->fd = fd;
    sqe->addr = (uint64_t)(uintptr_t)&ring->form;
    sqe->len = 1;
    sqe->user_data = user_data;
    sqe->buf_group = URING_GROUP;
    uring_queue(ring);
    return 1;
}

static int uring_cancel(struct uring *ring, uint64_t user_data, uint64_t own_data)
{
    struct uring_sqe *sqe = uring_next(ring);
    if (!sqe)
        return 0;
    sqe->opcode = URING_OP_ASYNC_CANCEL;
    sqe->fd = -1;
    sqe->addr = user_data;
    sqe->user_data = own_data;
    uring_queue(ring);
    return 1;
}

/* Return the next completion; NULL if there is none. `uring_seen` removes it. */
static struct uring_cqe *uring_peek(struct uring *ring)
{
    uint32_t head = *ring->cq_head;
    if (head == __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE))
        return NULL;
    return &ring->cqes[head & ring->cq_mask];
}

static void uring_seen(struct uring *ring)
{
    __atomic_store_n(ring->cq_head, *ring->cq_head + 1, __ATOMIC_RELEASE);
}

static int uring_overflown(struct uring *ring)
{
    return (__atomic_load_n(ring->sq_flags, __ATOMIC_RELAXED) & URING_SQ_CQ_OVERFLOW) != 0;
}

/* Return whether `uring_enter` has something to do. If not after it, all sockets are empty. */
static int uring_pending(struct uring *ring)
{
    uint32_t flags = __atomic_load_n(ring->sq_flags, __ATOMIC_ACQUIRE);
    return ring->queued || (flags & URING_SQ_CQ_OVERFLOW) != 0;
}

/* Let what arrives make `event_fd` readable from now on, or not. What has arrived may not. */
static void uring_notify(struct uring *ring, int is_on)
{
    __atomic_store_n(ring->cq_flags, is_on ? 0 : URING_CQ_EVENTFD_DISABLED, __ATOMIC_SEQ_CST);
}

static void uring_notified(struct uring *ring)
{
    uint64_t count;
    while (read(ring->event_fd, &count, sizeof(count)) < 0 && errno == EINTR)
        ;
}

/* Return the message of a completion with a buffer; NULL if it is shorter than its header. */
static struct uring_message *uring_message_of(struct uring *ring, struct uring_cqe *cqe)
{
    uint32_t bid = cqe->flags >> URING_CQE_SHIFT;
    if (cqe->res < (int)sizeof(struct uring_message) || bid >= ring->buffer_count)
        return NULL;
    return (struct uring_message *)(ring->buffers + (size_t)bid * ring->buffer_size);
}

/* Return the size of the payload, which is never more than what the completion contains. */
static uint32_t uring_payload(struct uring_message *message, struct uring_cqe *cqe)
{
    uint32_t room = (uint32_t)cqe->res - (uint32_t)sizeof(struct uring_message);
    return message->payloadlen < room ? message->payloadlen : room;
}

#endif
