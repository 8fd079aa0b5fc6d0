/* Writes a JPEG again with restart markers, from the same coefficients: no pixel changes.
 *
 * libjpeg keeps all coefficients of the image, 128 bytes for each 8 x 8 block, so the caller limits
 * the size that a file may declare. Other segments, such as EXIF data, are copied. Huffman codes
 * are those that make the file shortest. The interpreter lock is not held meanwhile.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdlib.h>
#include <string.h>

#include "_jpeg_errors.h"
#include <jerror.h>

#define LARGEST_HEADER 4096 /* without the segments that are copied */

struct job {
    Py_buffer data;       /* the file */
    unsigned interval;    /* MCUs between markers */
    unsigned char *out;   /* the new file */
    size_t most;          /* bytes that fit into it */
    struct jpeg_decompress_struct from;
    struct jpeg_compress_struct to;
    struct jpeg_destination_mgr destination;
    struct errors errors;
};

/* libjpeg's own destination grows, and loses track of its memory after an error. */
static void do_nothing(j_compress_ptr to) { (void)to; }

static boolean is_full(j_compress_ptr to)
{
    ERREXIT(to, JERR_BUFFER_SIZE);
    return FALSE;
}

static void set_destination(struct job *job)
{
    job->destination.next_output_byte = job->out;
    job->destination.free_in_buffer = job->most;
    job->destination.init_destination = do_nothing;
    job->destination.empty_output_buffer = is_full;
    job->destination.term_destination = do_nothing;
    job->to.dest = &job->destination;
}

static void keep_segments(j_decompress_ptr from)
{
    int number;
    jpeg_save_markers(from, JPEG_COM, 0xFFFF);
    for (number = 0; number < 16; number++)
        jpeg_save_markers(from, JPEG_APP0 + number, 0xFFFF);
}

/* Whether libjpeg writes this segment itself. */
static int is_own(j_compress_ptr to, jpeg_saved_marker_ptr one)
{
    if (to->write_JFIF_header && one->marker == JPEG_APP0)
        return one->data_length >= 5 && memcmp(one->data, "JFIF", 5) == 0;
    if (to->write_Adobe_marker && one->marker == JPEG_APP0 + 14)
        return one->data_length >= 5 && memcmp(one->data, "Adobe", 5) == 0;
    return 0;
}

static void write_again(struct job *job)
{
    jvirt_barray_ptr *coefficients;
    jpeg_saved_marker_ptr one;

    jpeg_mem_src(&job->from, job->data.buf, (unsigned long)job->data.len);
    keep_segments(&job->from);
    jpeg_read_header(&job->from, TRUE);
    coefficients = jpeg_read_coefficients(&job->from);
    jpeg_copy_critical_parameters(&job->from, &job->to);
    job->to.restart_interval = job->interval;
    job->to.optimize_coding = TRUE;
    set_destination(job);
    jpeg_write_coefficients(&job->to, coefficients);
    for (one = job->from.marker_list; one != NULL; one = one->next) {
        if (!is_own(&job->to, one))
            jpeg_write_marker(&job->to, one->marker, one->data, one->data_length);
    }
    jpeg_finish_compress(&job->to);
    jpeg_finish_decompress(&job->from);
}

/* Write the file; return 1, or 0 with a message if libjpeg reports anything. */
static int run(struct job *job)
{
    job->from.err = job->to.err = catch_errors(&job->errors);
    if (setjmp(job->errors.fatal) == 0) {
        jpeg_create_decompress(&job->from);
        jpeg_create_compress(&job->to);
        write_again(job);
    }
    jpeg_destroy_compress(&job->to);
    jpeg_destroy_decompress(&job->from);
    return !job->errors.message[0];
}

PyDoc_STRVAR(rewrite_doc,
"rewrite(data, interval) -> bytes\n\n"
"The JPEG `data` with a restart marker after every `interval` MCUs, of the same pixels.\n"
"ValueError with libjpeg's message if it reports anything.");

static PyObject *rewrite(PyObject *module, PyObject *arguments)
{
    struct job job;
    PyObject *result = NULL;
    int done;

    (void)module;
    memset(&job, 0, sizeof job);
    if (!PyArg_ParseTuple(arguments, "y*I", &job.data, &job.interval))
        return NULL;
    job.most = 2 * (size_t)job.data.len + LARGEST_HEADER;
    job.out = malloc(job.most);
    if (job.out != NULL) {
        Py_BEGIN_ALLOW_THREADS
        done = run(&job);
        Py_END_ALLOW_THREADS
        if (done)
            result = PyBytes_FromStringAndSize(
                (const char *)job.out, (Py_ssize_t)(job.most - job.destination.free_in_buffer));
        else
            PyErr_SetString(PyExc_ValueError, job.errors.message);
        free(job.out);
    } else {
        PyErr_NoMemory();
    }
    PyBuffer_Release(&job.data);
    return result;
}

static PyMethodDef functions[] = {
    {"rewrite", rewrite, METH_VARARGS, rewrite_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_jpeg_restart", "Restart markers for a JPEG, losslessly.", 0,
    functions, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__jpeg_restart(void) { return PyModuleDef_Init(&definition); }
