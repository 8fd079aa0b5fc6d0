/* Decodes a window of a JPEG, and as little as possible of what is around it.
 *
 * libjpeg-turbo skips the rows above the window without transforming them, transforms only the
 * columns of the window, and stops after its last row. The pixels are those of the whole image:
 * where its upsampling looks one pixel of the smaller plane aside, that is decoded as well.
 *
 * The data are decoded by `_jpeg_scan.c`: up to the window they must be passed, which is where most
 * of the time is spent.
 *
 * Nothing is allocated by what the file declares, except libjpeg's rows (at most 65,500 pixels
 * wide): images for which it would keep all coefficients, such as progressive ones, are refused.
 * There is no state between calls, and the interpreter lock is not held while decoding.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <string.h>

#include "_jpeg_errors.h"
#include "_jpeg_scan.h"

/* Older versions compute wrong pixels at the edges of a window, and read outside their memory. */
#if !defined(LIBJPEG_TURBO_VERSION_NUMBER) || LIBJPEG_TURBO_VERSION_NUMBER < 2001000
#error "libjpeg-turbo 2.1 or later is required"
#endif

/* Grows when a function changes, so that a module built from an older checkout is not used. */
#define INTERFACE 2

#define TEXT(value) #value
#define VERSION_OF(value) TEXT(value)

struct job {
    Py_buffer data;                      /* the file */
    Py_buffer image;                     /* high x wide x 3; the window and some rows are written */
    JDIMENSION high, wide;               /* of the whole image, after scaling */
    int scale;                           /* divides the size of the file's image */
    JDIMENSION left, top, columns, rows; /* the window */
    int to_end;                          /* also read what follows the window, for warnings */
    struct scan *scan;
    struct jpeg_decompress_struct jpeg;
    struct errors errors;
};

/* Why the window cannot be decoded to the pixels of the whole image; NULL if it can. */
static const char *refusal(const struct job *job)
{
    j_decompress_ptr jpeg = (j_decompress_ptr)&job->jpeg;
    const JDIMENSION scale = (JDIMENSION)job->scale;
    if ((jpeg->image_height + scale - 1) / scale != job->high
        || (jpeg->image_width + scale - 1) / scale != job->wide)
        return "the image has another size";
    if (jpeg->data_precision != 8 || (jpeg->num_components != 1 && jpeg->num_components != 3))
        return "neither grey nor three colours of 8 bits";
    if (jpeg->arith_code)
        return "arithmetic coding";
    if (jpeg_has_multiple_scans(jpeg))
        return "several scans";
    return NULL;
}

/* The MCUs that cover a range of pixels, and what upsampling reads around it. */
static void cover(JDIMENSION first, JDIMENSION count, JDIMENSION around, JDIMENSION side,
                  JDIMENSION *begin, JDIMENSION *end)
{
    *begin = first > around ? (first - around) / side : 0;
    *end = (first + count + around + side - 1) / side;
}

/* Read one row into the image, from column `left` on. */
static void read_row(struct job *job, JDIMENSION left)
{
    size_t row = job->jpeg.output_scanline;
    JSAMPROW to = (JSAMPROW)job->image.buf + 3 * (row * job->wide + left);
    jpeg_read_scanlines(&job->jpeg, &to, 1);
}

/* Decode a file that is not refused. */
static void read_window(struct job *job)
{
    j_decompress_ptr jpeg = &job->jpeg;
    JDIMENSION across = (JDIMENSION)jpeg->max_h_samp_factor;
    JDIMENSION down = (JDIMENSION)jpeg->max_v_samp_factor;
    int grey = jpeg->num_components == 1;
    JDIMENSION side = (JDIMENSION)(DCTSIZE / job->scale); /* of a block */
    JDIMENSION wide = side * (grey ? 1 : across), high = side * (grey ? 1 : down);
    JDIMENSION left, columns, bottom = job->top + job->rows;
    struct area needed;

    cover(job->left, job->columns, across, wide, &needed.left, &needed.right);
    cover(job->top, job->rows, down, high, &needed.top, &needed.bottom);
    left = needed.left * wide;
    columns = (needed.right * wide < job->wide ? needed.right * wide : job->wide) - left;
    /* The last MCU may have two columns of colour only. libjpeg never upsamples so few smoothly,
     * except of a part, so no processor's code for it is tested with them. */
    if (needed.right * wide > job->wide && left > 0)
        left -= wide, columns += wide;
    jpeg->out_color_space = JCS_EXT_RGB;
    jpeg->scale_num = 1, jpeg->scale_denom = (unsigned)job->scale;
    jpeg_start_decompress(jpeg);
    jpeg_crop_scanline(jpeg, &left, &columns);
    scan_begin(jpeg, job->scan, needed, job->to_end);
    jpeg_skip_scanlines(jpeg, job->top);
    while (jpeg->output_scanline < bottom)
        read_row(job, left);
    if (!job->to_end)
        return;
    /* Skipping all the rest would not read it, but skipping up to the last row does. */
    if (bottom < job->high) {
        jpeg_skip_scanlines(jpeg, job->high - 1 - bottom);
        read_row(job, left);
    }
    jpeg_finish_decompress(jpeg);
}

/* Decode; return 1 if all of the window is decoded, 0 with a message if not. */
static int run(struct job *job)
{
    j_decompress_ptr jpeg = &job->jpeg;
    const char *reason;
    int done = 0;

    jpeg->err = catch_errors(&job->errors);
    if (setjmp(job->errors.fatal) == 0) {
        jpeg_create_decompress(jpeg);
        jpeg_mem_src(jpeg, job->data.buf, (unsigned long)job->data.len);
        jpeg_read_header(jpeg, TRUE);
        reason = refusal(job);
        if (reason != NULL) {
            snprintf(job->errors.message, sizeof job->errors.message, "%s", reason);
        } else {
            read_window(job);
            done = 1;
        }
    } else {
        done = 0;
    }
    jpeg_destroy_decompress(jpeg);
    return done;
}

/* Whether the image is an array (high, wide, 3) of bytes, and the window lies inside it. */
static int is_valid(struct job *job, Py_ssize_t left, Py_ssize_t top, Py_ssize_t columns,
                    Py_ssize_t rows)
{
    const Py_ssize_t *shape = job->image.shape;
    if (job->image.ndim != 3 || job->image.itemsize != 1 || shape[2] != 3)
        return 0;
    if (shape[0] > JPEG_MAX_DIMENSION || shape[1] > JPEG_MAX_DIMENSION)
        return 0;
    if (job->scale != 1 && job->scale != 2)
        return 0;
    if (left < 0 || top < 0 || columns < 1 || rows < 1)
        return 0;
    if (columns > shape[1] - left || rows > shape[0] - top)
        return 0;
    job->high = (JDIMENSION)shape[0], job->wide = (JDIMENSION)shape[1];
    job->left = (JDIMENSION)left, job->top = (JDIMENSION)top;
    job->columns = (JDIMENSION)columns, job->rows = (JDIMENSION)rows;
    return 1;
}

PyDoc_STRVAR(decode_doc,
"decode(data, image, left, top, columns, rows, to_end, scale) -> (done, warnings, message)\n\n"
"Decode a window of the JPEG `data` into its place in `image`, uint8 (height, width, 3), RGB.\n\n"
"`image` has the size of the whole image. What is around the window is undefined afterwards.\n"
"scale: 1, or 2 if `image` has half the size of the JPEG, rounded up.\n"
"to_end: also read, without transforming it, what follows the window, for warnings about it.\n"
"done: whether all pixels are decoded. If libjpeg warned, they may differ from those of the\n"
"whole image. message: libjpeg's first warning, or the reason why the window is not decoded.\n"
"ValueError if the window is not inside the image.");

static PyObject *decode(PyObject *module, PyObject *arguments)
{
    struct job job;
    struct scan scan;
    Py_ssize_t left, top, columns, rows;
    PyObject *image, *result = NULL;
    int done;

    (void)module;
    memset(&job, 0, sizeof job);
    job.scan = &scan;
    if (!PyArg_ParseTuple(arguments, "y*Onnnnpi", &job.data, &image, &left, &top, &columns, &rows,
                          &job.to_end, &job.scale))
        return NULL;
    if (PyObject_GetBuffer(image, &job.image, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS) == 0) {
        if (is_valid(&job, left, top, columns, rows)) {
            Py_BEGIN_ALLOW_THREADS
            done = run(&job);
            Py_END_ALLOW_THREADS
            result = Py_BuildValue("Nls", PyBool_FromLong(done), job.errors.warnings,
                                   job.errors.message);
        } else {
            PyErr_SetString(PyExc_ValueError, "the window is not inside an image (h, w, 3)");
        }
        PyBuffer_Release(&job.image);
    }
    PyBuffer_Release(&job.data);
    return result;
}

/* Blocks of the frame header at `at`, whose segment is inside the file; 0 without a component. */
static uint64_t blocks_of(const unsigned char *at, unsigned wide, unsigned high)
{
    unsigned i, count = at[9], widest = 1, highest = 1;
    uint64_t blocks = 0;
    for (i = 0; i < count; i++) {
        const unsigned factors = at[11 + 3 * i];
        widest = factors >> 4 > widest ? factors >> 4 : widest;
        highest = (factors & 15) > highest ? factors & 15 : highest;
    }
    for (i = 0; i < count; i++) {
        const unsigned factors = at[11 + 3 * i];
        const unsigned x = factors >> 4 ? factors >> 4 : 1, y = factors & 15 ? factors & 15 : 1;
        blocks += (uint64_t)((wide * x + 8 * widest - 1) / (8 * widest))
            * ((high * y + 8 * highest - 1) / (8 * highest));
    }
    return blocks;
}

/* Find the width and height; 0 if the file is not a complete one of sequential Huffman codes. */
static int read_size(const Py_buffer *data, unsigned size[2])
{
    const unsigned char *begin = data->buf, *end = begin + data->len, *at = begin + 2;

    if (data->len < 12 || begin[0] != 0xFF || begin[1] != 0xD8)
        return 0;
    if (end[-2] != 0xFF || end[-1] != JPEG_EOI)
        return 0;
    while (end - at >= 10 && at[0] == 0xFF) {
        const unsigned marker = at[1], length = (unsigned)at[2] << 8 | at[3];
        if (marker == 0xFF) { /* padding */
            at++;
            continue;
        }
        if (marker == 0xC0 || marker == 0xC1) {
            const uint64_t bytes = (uint64_t)(end - at);
            if (length + 2u > bytes || length < 8u + 3u * at[9])
                return 0;
            size[1] = (unsigned)at[5] << 8 | at[6], size[0] = (unsigned)at[7] << 8 | at[8];
            return size[0] > 0 && size[1] > 0
                && blocks_of(at, size[0], size[1]) <= 8 * bytes; /* a block has a bit at least */
        }
        if ((marker >= 0xC0 && marker <= 0xCF && marker != 0xC4) || marker == 0xDA)
            return 0;
        if (marker <= 0x01 || (marker >= 0xD0 && marker <= JPEG_EOI)) /* without a length */
            return 0;
        at += 2 + length < (size_t)(end - at) ? 2 + length : (size_t)(end - at);
    }
    return 0;
}

PyDoc_STRVAR(size_doc,
"size(data) -> (width, height) or None\n\n"
"The size in the header of a JPEG, if it is of a kind that can be decoded in parts, ends with an\n"
"end marker, and is long enough for its pixels.");

static PyObject *size(PyObject *module, PyObject *argument)
{
    Py_buffer data;
    unsigned found[2];
    int done;

    (void)module;
    if (PyObject_GetBuffer(argument, &data, PyBUF_SIMPLE) != 0)
        return NULL;
    done = read_size(&data, found);
    PyBuffer_Release(&data);
    if (!done)
        Py_RETURN_NONE;
    return Py_BuildValue("II", found[0], found[1]);
}

static PyMethodDef functions[] = {
    {"size", size, METH_O, size_doc},
    {"decode", decode, METH_VARARGS, decode_doc},
    {NULL, NULL, 0, NULL},
};

static int set_versions(PyObject *module)
{
    if (PyModule_AddIntMacro(module, INTERFACE) != 0)
        return -1;
    return PyModule_AddStringConstant(module, "LIBJPEG_TURBO",
                                      VERSION_OF(LIBJPEG_TURBO_VERSION));
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, set_versions},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_jpeg_window", "A window of a JPEG, decoded by libjpeg-turbo.", 0,
    functions, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__jpeg_window(void) { return PyModuleDef_Init(&definition); }
