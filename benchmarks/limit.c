/* What is physically possible from Python: a method that does nothing, and the smallest futex lock that knows its owner.
 *
 *   NoOp        acquire(), release(), with: the cost of the call alone
 *   FutexLock   a word in shared memory: 0 free, else the owner's id; bit 31: somebody sleeps
 *
 * Built on the fly by rivals.py; nothing of holdfast uses it.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLEEPERS 0x80000000u

typedef struct {
    PyObject_HEAD
    _Atomic uint32_t *word;
} Thing;

static _Thread_local uint32_t id_of_thread;

static void forget_id(void) { id_of_thread = 0; } /* in the child of a fork */

static uint32_t my_id(void) {
    if (id_of_thread == 0)
        id_of_thread = (uint32_t)syscall(SYS_gettid);
    return id_of_thread;
}

static void lock_slowly(_Atomic uint32_t *word, uint32_t id) {
    for (;;) {
        uint32_t seen = atomic_load(word);
        if ((seen & ~SLEEPERS) == 0) {
            /* Whoever slept keeps the bit: others may sleep as well. */
            if (atomic_compare_exchange_strong(word, &seen, id | SLEEPERS))
                return;
            continue;
        }
        if (!(seen & SLEEPERS) && !atomic_compare_exchange_strong(word, &seen, seen | SLEEPERS))
            continue;
        syscall(SYS_futex, word, FUTEX_WAIT, seen | SLEEPERS, NULL, NULL, 0);
    }
}

static PyObject *futex_acquire(Thing *self, PyObject *Py_UNUSED(ignored)) {
    uint32_t free = 0, id = my_id();
    if (!atomic_compare_exchange_strong(self->word, &free, id)) {
        Py_BEGIN_ALLOW_THREADS
        lock_slowly(self->word, id);
        Py_END_ALLOW_THREADS
    }
    Py_RETURN_TRUE;
}

static PyObject *futex_release(Thing *self, PyObject *Py_UNUSED(ignored)) {
    uint32_t mine = my_id();
    if (!atomic_compare_exchange_strong(self->word, &mine, 0)) {
        atomic_store(self->word, 0);
        syscall(SYS_futex, self->word, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
    Py_RETURN_NONE;
}

static PyObject *futex_exit(Thing *self, PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(count)) {
    return futex_release(self, NULL);
}

static PyObject *no_op_acquire(Thing *Py_UNUSED(self), PyObject *Py_UNUSED(ignored)) { Py_RETURN_TRUE; }

static PyObject *no_op_release(Thing *Py_UNUSED(self), PyObject *Py_UNUSED(ignored)) { Py_RETURN_NONE; }

static PyObject *no_op_exit(Thing *Py_UNUSED(self), PyObject *const *Py_UNUSED(args), Py_ssize_t Py_UNUSED(count)) {
    Py_RETURN_NONE;
}

static PyObject *thing_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs)) {
    Thing *self = (Thing *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (self->word == MAP_FAILED) {
        Py_DECREF(self);
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return (PyObject *)self;
}

static PyMethodDef futex_methods[] = {
    {"acquire", (PyCFunction)futex_acquire, METH_NOARGS, NULL},
    {"release", (PyCFunction)futex_release, METH_NOARGS, NULL},
    {"__enter__", (PyCFunction)futex_acquire, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))futex_exit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef no_op_methods[] = {
    {"acquire", (PyCFunction)no_op_acquire, METH_NOARGS, NULL},
    {"release", (PyCFunction)no_op_release, METH_NOARGS, NULL},
    {"__enter__", (PyCFunction)no_op_acquire, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))no_op_exit, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot futex_slots[] = {{Py_tp_new, thing_new}, {Py_tp_methods, futex_methods}, {0, NULL}};
static PyType_Slot no_op_slots[] = {{Py_tp_new, thing_new}, {Py_tp_methods, no_op_methods}, {0, NULL}};
static PyType_Spec futex_spec = {"limit.FutexLock", sizeof(Thing), 0, Py_TPFLAGS_DEFAULT, futex_slots};
static PyType_Spec no_op_spec = {"limit.NoOp", sizeof(Thing), 0, Py_TPFLAGS_DEFAULT, no_op_slots};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "limit", NULL, -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_limit(void) {
    pthread_atfork(NULL, NULL, forget_id);
    PyObject *made = PyModule_Create(&module);
    if (made == NULL)
        return NULL;
    PyObject *futex = PyType_FromSpec(&futex_spec), *no_op = PyType_FromSpec(&no_op_spec);
    if (futex == NULL || no_op == NULL || PyModule_AddObject(made, "FutexLock", futex) < 0
        || PyModule_AddObject(made, "NoOp", no_op) < 0)
        return NULL;
    return made;
}
