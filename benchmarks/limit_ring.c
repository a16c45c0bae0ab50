/* What shared memory allows: a ring of slots between one producer and one consumer, filled and emptied by C loops.
 *
 *   Ring(slots, size)   size: bytes of the longest message
 *   put(size, count=1)  copies a message of that size in, so many times; size 0 says the end
 *   get() -> int        copies one message out; its size
 *   drain() -> int      copies messages out until the end; how many there were
 *
 *   head: messages put          tail: messages taken          slot: 64-bit size, then the bytes
 *
 * Waiting is a spin, then sched_yield: the fastest that can be had where both sides run. Built on the fly by rivals.py;
 * nothing of holdfast uses it.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define SPINS 200
#define HEADER 64

typedef struct {
    _Alignas(64) _Atomic uint64_t head;
    _Alignas(64) _Atomic uint64_t tail;
    _Alignas(64) char slots[];
} Shared;

typedef struct {
    PyObject_HEAD
    Shared *shared;
    char *message; /* private: copied from by put, copied to by get */
    uint64_t slots, stride, size;
} Ring;

static uint64_t wait_for_change(_Atomic uint64_t *word, uint64_t old) {
    uint64_t seen;
    for (unsigned turn = 0; (seen = atomic_load_explicit(word, memory_order_acquire)) == old; turn++)
        if (turn > SPINS)
            sched_yield();
    return seen;
}

static char *slot_of(Ring *self, uint64_t number) {
    return self->shared->slots + number % self->slots * self->stride;
}

static void put_one(Ring *self, uint64_t size) {
    uint64_t head = atomic_load_explicit(&self->shared->head, memory_order_relaxed);
    uint64_t tail = atomic_load_explicit(&self->shared->tail, memory_order_acquire);
    if (head - tail == self->slots)
        wait_for_change(&self->shared->tail, tail);
    char *slot = slot_of(self, head);
    memcpy(slot, &size, sizeof size);
    memcpy(slot + HEADER, self->message, size);
    atomic_store_explicit(&self->shared->head, head + 1, memory_order_release);
}

static uint64_t get_one(Ring *self) {
    uint64_t size, tail = atomic_load_explicit(&self->shared->tail, memory_order_relaxed);
    if (atomic_load_explicit(&self->shared->head, memory_order_acquire) == tail)
        wait_for_change(&self->shared->head, tail);
    char *slot = slot_of(self, tail);
    memcpy(&size, slot, sizeof size);
    memcpy(self->message, slot + HEADER, size);
    atomic_store_explicit(&self->shared->tail, tail + 1, memory_order_release);
    return size;
}

static PyObject *ring_put(Ring *self, PyObject *args) {
    unsigned long long size, count = 1;
    if (!PyArg_ParseTuple(args, "K|K", &size, &count))
        return NULL;
    if (size > self->size) {
        PyErr_SetString(PyExc_ValueError, "longer than a slot");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    while (count--)
        put_one(self, size);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *ring_get(Ring *self, PyObject *Py_UNUSED(ignored)) {
    uint64_t size;
    Py_BEGIN_ALLOW_THREADS
    size = get_one(self);
    Py_END_ALLOW_THREADS
    return PyLong_FromUnsignedLongLong(size);
}

static PyObject *ring_drain(Ring *self, PyObject *Py_UNUSED(ignored)) {
    uint64_t count = 0;
    Py_BEGIN_ALLOW_THREADS
    while (get_one(self) != 0)
        count++;
    Py_END_ALLOW_THREADS
    return PyLong_FromUnsignedLongLong(count);
}

static size_t bytes_of(Ring *self) { return sizeof(Shared) + self->slots * self->stride; }

static PyObject *ring_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs)) {
    unsigned long long slots, size;
    if (!PyArg_ParseTuple(args, "KK", &slots, &size))
        return NULL;
    Ring *self = (Ring *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->slots = slots;
    self->size = size;
    self->stride = (size + HEADER + 63) / 64 * 64;
    self->message = calloc(1, size + 1);
    self->shared = mmap(NULL, bytes_of(self), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (self->message == NULL || self->shared == MAP_FAILED) {
        self->shared = self->shared == MAP_FAILED ? NULL : self->shared;
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    memset(self->message, 7, size + 1);
    return (PyObject *)self;
}

static void ring_dealloc(Ring *self) {
    PyTypeObject *type = Py_TYPE(self);
    if (self->shared != NULL)
        munmap(self->shared, bytes_of(self));
    free(self->message);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

static PyMethodDef ring_methods[] = {
    {"put", (PyCFunction)ring_put, METH_VARARGS, NULL},
    {"get", (PyCFunction)ring_get, METH_NOARGS, NULL},
    {"drain", (PyCFunction)ring_drain, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot ring_slots[] = {
    {Py_tp_new, ring_new}, {Py_tp_dealloc, ring_dealloc}, {Py_tp_methods, ring_methods}, {0, NULL}};
static PyType_Spec ring_spec = {"limit_ring.Ring", sizeof(Ring), 0, Py_TPFLAGS_DEFAULT, ring_slots};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "limit_ring", NULL, -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_limit_ring(void) {
    PyObject *made = PyModule_Create(&module);
    if (made == NULL)
        return NULL;
    PyObject *ring = PyType_FromSpec(&ring_spec);
    if (ring == NULL || PyModule_AddObject(made, "Ring", ring) < 0)
        return NULL;
    return made;
}
