/* Decodes a window of a JPEG, and as little as possible of what is around it.
 *
 * libjpeg-turbo skips the rows above the window without transforming them, transforms only the
 * columns of the window, and stops after its last row. The pixels are those of the whole image:
 * where its upsampling looks one pixel of the smaller plane aside, that is decoded as well.
 *
 * A file with restart markers is shortened first: the data between two markers do not depend on
 * others, so those that the window needs are copied into a smaller JPEG.
 *
 * Nothing is allocated by what the file declares, except libjpeg's rows (at most 65,500 pixels
 * wide): images for which it would keep all coefficients, such as progressive ones, are refused.
 * There is no state between calls, and the interpreter lock is not held while decoding.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdlib.h>
#include <string.h>

#include "_jpeg_errors.h"

/* Older versions compute wrong pixels at the edges of a window, and read outside their memory. */
#if !defined(LIBJPEG_TURBO_VERSION_NUMBER) || LIBJPEG_TURBO_VERSION_NUMBER < 2001000
#error "libjpeg-turbo 2.1 or later is required"
#endif

#define TEXT(value) #value
#define VERSION_OF(value) TEXT(value)

struct job {
    Py_buffer data;                      /* the file */
    Py_buffer image;                     /* high x wide x 3; the window and some rows are written */
    JDIMENSION high, wide;               /* of the whole image */
    JDIMENSION left, top, columns, rows; /* the window */
    int to_end;                          /* also read what follows the window, for warnings */
    unsigned char *shorter;              /* a JPEG of a part of the image; NULL: not needed */
    JDIMENSION part_left, part_top;      /* of that part in the image */
    struct jpeg_decompress_struct jpeg;
    struct errors errors;
};

/* Why the window cannot be decoded to the pixels of the whole image; NULL if it can. */
static const char *refusal(const struct job *job)
{
    j_decompress_ptr jpeg = (j_decompress_ptr)&job->jpeg;
    if (jpeg->image_height != job->high || jpeg->image_width != job->wide)
        return "the image has another size";
    if (jpeg->data_precision != 8 || (jpeg->num_components != 1 && jpeg->num_components != 3))
        return "neither grey nor three colours of 8 bits";
    if (jpeg->arith_code)
        return "arithmetic coding";
    if (jpeg_has_multiple_scans(jpeg))
        return "several scans";
    return NULL;
}

/* The intervals between restart markers, each coded on its own; counts are of intervals. */
struct intervals {
    JDIMENSION wide, high;              /* pixels of one */
    JDIMENSION across, down;            /* in the image */
    JDIMENSION left, right, top, bottom; /* needed; `right` and `bottom` are the first not needed */
};

/* The intervals that cover a range of pixels, and what upsampling reads around it. */
static void cover(JDIMENSION first, JDIMENSION count, JDIMENSION around, JDIMENSION side,
                  JDIMENSION total, JDIMENSION *begin, JDIMENSION *end)
{
    *begin = first > around ? (first - around) / side : 0;
    *end = (first + count + around + side - 1) / side;
    if (*end > total)
        *end = total;
}

/* Find the needed intervals; 0 if intervals do not form a grid, or all are needed. */
static int needed_intervals(const struct job *job, struct intervals *found)
{
    const struct jpeg_decompress_struct *jpeg = &job->jpeg;
    int grey = jpeg->num_components == 1;
    JDIMENSION wide = DCTSIZE * (JDIMENSION)(grey ? 1 : jpeg->max_h_samp_factor);
    JDIMENSION high = DCTSIZE * (JDIMENSION)(grey ? 1 : jpeg->max_v_samp_factor);
    JDIMENSION row = (job->wide + wide - 1) / wide, step = jpeg->restart_interval;

    if (step == 0 || (row % step != 0 && step % row != 0))
        return 0;
    found->wide = wide * (step < row ? step : row);
    found->high = high * (step < row ? 1 : step / row);
    found->across = (job->wide + found->wide - 1) / found->wide;
    found->down = (job->high + found->high - 1) / found->high;
    cover(job->left, job->columns, (JDIMENSION)jpeg->max_h_samp_factor, found->wide,
          found->across, &found->left, &found->right);
    cover(job->top, job->rows, (JDIMENSION)jpeg->max_v_samp_factor, found->high,
          found->down, &found->top, &found->bottom);
    /* The last interval may be narrower than an MCU: too narrow for libjpeg's smooth upsampling. */
    if (found->left + 1 == found->across && found->left > 0)
        found->left--;
    return (found->right - found->left) * (found->bottom - found->top)
        < found->across * found->down;
}

/* The end of an interval, which is the position of the next marker; NULL without one. */
static const unsigned char *next_marker(const unsigned char *at, const unsigned char *end)
{
    while ((at = memchr(at, 0xFF, (size_t)(end - at))) != NULL && end - at >= 2) {
        if (at[1] != 0) /* a byte 0xFF of the data is followed by 0 */
            return at;
        at += 2;
    }
    return NULL;
}

/* Append the needed intervals with new markers; return the end, NULL if a marker is wrong. */
static unsigned char *copy_intervals(const struct intervals *all, const unsigned char *from,
                                     const unsigned char *end, unsigned char *to)
{
    JDIMENSION x, y;
    unsigned copied = 0;

    for (y = 0; y < all->down; y++) {
        for (x = 0; x < all->across; x++) {
            JDIMENSION number = y * all->across + x;
            int is_last = number + 1 == all->across * all->down;
            const unsigned char *marker = next_marker(from, end);
            if (marker == NULL || marker[1] != (is_last ? JPEG_EOI : JPEG_RST0 + number % 8))
                return NULL;
            if (y >= all->top && y < all->bottom && x >= all->left && x < all->right) {
                if (copied > 0) {
                    *to++ = 0xFF;
                    *to++ = (unsigned char)(JPEG_RST0 + (copied - 1) % 8);
                }
                memcpy(to, from, (size_t)(marker - from));
                to += marker - from;
                copied++;
            }
            from = marker + 2;
        }
    }
    *to++ = 0xFF;
    *to++ = JPEG_EOI;
    return to;
}

/* The height in the frame header, which the width follows; NULL if it is not where it should be. */
static unsigned char *frame_size(unsigned char *at, const unsigned char *end)
{
    for (at += 2; end - at >= 9 && at[0] == 0xFF; at += 2 + (at[2] << 8 | at[3])) {
        if (at[1] == 0xC0 || at[1] == 0xC1)
            return at + 5;
    }
    return NULL;
}

/* Make a shorter JPEG of the needed intervals; return its length, 0 if the whole file is read.
 *
 * Every marker of the file is checked: where one is missing, libjpeg looks for the next one, and
 * which data belong to which part of the image depends on all markers before.
 */
static unsigned long shorten(struct job *job)
{
    struct intervals all;
    const unsigned char *begin = job->data.buf, *end = begin + job->data.len;
    const unsigned char *scan = job->jpeg.src->next_input_byte;
    size_t header = (size_t)(scan - begin);
    unsigned char *to, *size;
    JDIMENSION wide, high;

    if (job->to_end || !needed_intervals(job, &all))
        return 0;
    job->shorter = malloc((size_t)job->data.len + 2); /* a part cannot be longer */
    if (job->shorter == NULL)
        return 0;
    memcpy(job->shorter, begin, header);
    to = copy_intervals(&all, scan, end, job->shorter + header);
    size = frame_size(job->shorter, job->shorter + header);
    if (to == NULL || size == NULL)
        return 0;
    job->part_left = all.left * all.wide, job->part_top = all.top * all.high;
    wide = all.right < all.across ? all.right * all.wide : job->wide;
    high = all.bottom < all.down ? all.bottom * all.high : job->high;
    wide -= job->part_left, high -= job->part_top;
    size[0] = (unsigned char)(high >> 8), size[1] = (unsigned char)high;
    size[2] = (unsigned char)(wide >> 8), size[3] = (unsigned char)wide;
    return (unsigned long)(to - job->shorter);
}

/* Read one row into the image, from column `left` of the part on. */
static void read_row(struct job *job, JDIMENSION left)
{
    size_t row = job->part_top + job->jpeg.output_scanline;
    size_t at = row * job->wide + job->part_left + left;
    JSAMPROW to = (JSAMPROW)job->image.buf + 3 * at;
    jpeg_read_scanlines(&job->jpeg, &to, 1);
}

static void read_window(struct job *job)
{
    j_decompress_ptr jpeg = &job->jpeg;
    JDIMENSION around = (JDIMENSION)jpeg->max_h_samp_factor, mcu = DCTSIZE * around, columns;
    JDIMENSION left = job->left - job->part_left, top = job->top - job->part_top;
    JDIMENSION right = (left + job->columns + around + mcu - 1) / mcu * mcu;
    JDIMENSION bottom = top + job->rows;

    /* The last MCU may have two columns of colour only. libjpeg never upsamples so few smoothly,
     * except of a part, so no processor's code for it is tested with them. */
    if (right > jpeg->image_width)
        around += mcu;
    left = left > around ? left - around : 0;
    columns = (right < jpeg->image_width ? right : jpeg->image_width) - left;
    jpeg->out_color_space = JCS_EXT_RGB;
    jpeg_start_decompress(jpeg);
    jpeg_crop_scanline(jpeg, &left, &columns);
    jpeg_skip_scanlines(jpeg, top);
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

/* Decode a file that is not refused. */
static void decode_window(struct job *job)
{
    unsigned long length = shorten(job);

    if (length > 0) {
        jpeg_abort_decompress(&job->jpeg);
        jpeg_mem_src(&job->jpeg, job->shorter, length);
        jpeg_read_header(&job->jpeg, TRUE);
    }
    read_window(job);
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
            decode_window(job);
            done = 1;
        }
    } else {
        done = 0;
    }
    jpeg_destroy_decompress(jpeg);
    free(job->shorter);
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
"decode(data, image, left, top, columns, rows, to_end) -> (done, warnings, message)\n\n"
"Decode a window of the JPEG `data` into its place in `image`, uint8 (height, width, 3), RGB.\n\n"
"`image` has the size of the whole image. What is around the window is undefined afterwards.\n"
"to_end: also read, without transforming it, what follows the window, for warnings about it.\n"
"done: whether all pixels are decoded. If libjpeg warned, they may differ from those of the\n"
"whole image. message: libjpeg's first warning, or the reason why the window is not decoded.\n"
"ValueError if the window is not inside the image.");

static PyObject *decode(PyObject *module, PyObject *arguments)
{
    struct job job;
    Py_ssize_t left, top, columns, rows;
    PyObject *image, *result = NULL;
    int done;

    (void)module;
    memset(&job, 0, sizeof job);
    if (!PyArg_ParseTuple(arguments, "y*Onnnnp", &job.data, &image, &left, &top, &columns, &rows,
                          &job.to_end))
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

static PyMethodDef functions[] = {
    {"decode", decode, METH_VARARGS, decode_doc},
    {NULL, NULL, 0, NULL},
};

static int set_version(PyObject *module)
{
    return PyModule_AddStringConstant(module, "LIBJPEG_TURBO",
                                      VERSION_OF(LIBJPEG_TURBO_VERSION));
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, set_version},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_jpeg_window", "A window of a JPEG, decoded by libjpeg-turbo.", 0,
    functions, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__jpeg_window(void) { return PyModuleDef_Init(&definition); }
