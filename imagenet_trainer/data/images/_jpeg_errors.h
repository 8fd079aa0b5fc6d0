/* How our modules use libjpeg: an error ends the call, warnings are counted, nothing is printed. */

#ifndef JPEG_ERRORS_H
#define JPEG_ERRORS_H

#include <setjmp.h>
#include <stdio.h> /* jpeglib.h needs it */

#include <jpeglib.h>

struct errors {
    struct jpeg_error_mgr base; /* first: libjpeg knows only this part */
    jmp_buf fatal;
    long warnings;
    char message[JMSG_LENGTH_MAX]; /* of the first warning, else of the error */
};

static void keep_message(j_common_ptr jpeg)
{
    struct errors *errors = (struct errors *)jpeg->err;
    if (!errors->message[0])
        errors->base.format_message(jpeg, errors->message);
}

static void on_error(j_common_ptr jpeg)
{
    keep_message(jpeg);
    longjmp(((struct errors *)jpeg->err)->fatal, 1);
}

static void on_message(j_common_ptr jpeg, int level)
{
    if (level < 0) { /* a warning: the file is damaged */
        keep_message(jpeg);
        ((struct errors *)jpeg->err)->warnings++;
    }
}

static void print_nothing(j_common_ptr jpeg) { (void)jpeg; }

/* Prepare `errors`, which is zero, for the `err` of a structure of libjpeg. */
static struct jpeg_error_mgr *catch_errors(struct errors *errors)
{
    jpeg_std_error(&errors->base);
    errors->base.error_exit = on_error;
    errors->base.emit_message = on_message;
    errors->base.output_message = print_nothing;
    return &errors->base;
}

#endif
