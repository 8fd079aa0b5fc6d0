/* Huffman decoding of a scan for libjpeg, in which only the blocks of a window are decoded. */

#ifndef JPEG_SCAN_H
#define JPEG_SCAN_H

#include <stdint.h>
#include <stdio.h> /* jpeglib.h needs it */

#include <jpeglib.h>

#define SCAN_LOOK 9 /* bits of a code that are looked up at once */

/* Codes of a table. An entry has the bits of the code with its value in bits 0 to 4, those of the
 * value alone in 5 to 8, and in 9 to 15 by how many coefficients to advance; 0 is no code. */
struct codes {
    uint16_t entries[1 << SCAN_LOOK]; /* by the first bits; 0: the code is longer, or there is none */
    uint16_t pairs[1 << SCAN_LOOK];   /* bits in 0 to 4 and advance of two codes with their values */
    int32_t last[17];                 /* last code of each length, -1: none */
    int32_t offsets[17];              /* what to add to a code for its place in `symbols` */
    const UINT8 *symbols;
    int is_dc, has_pairs;
};

/* Bits of the data, the next one highest, without the zeros that follow bytes 0xFF. */
struct bits {
    const unsigned char *at, *end; /* next byte to load, end of the file */
    uint64_t next;
    int count; /* of bits in `next` that are loaded; negative: more were taken than there are */
};

/* MCUs, in columns and rows; `right` and `bottom` are the first after. */
struct area {
    JDIMENSION left, top, right, bottom;
};

struct scan {
    struct bits bits;
    struct area needed;
    int skips;                 /* whether intervals without needed MCUs are not read */
    JDIMENSION column, row;    /* of the next MCU */
    JDIMENSION to_restart;     /* MCUs up to the next restart marker */
    unsigned restarts;         /* markers before */
    int is_skipped;            /* the interval of the next MCU */
    int last_dc[MAX_COMPS_IN_SCAN];
    struct codes dc[NUM_HUFF_TBLS], ac[NUM_HUFF_TBLS];
};

/* Decode the scan that `jpeg_start_decompress` has begun by `scan`, which is uninitialized, instead
 * of by libjpeg. Blocks of other MCUs than those needed are zero. `to_end`: read all data, so that
 * damage anywhere is an error. What is unusual in any way is an error of libjpeg's kind, although
 * libjpeg itself might have decoded it. */
void scan_begin(j_decompress_ptr jpeg, struct scan *scan, struct area needed, int to_end);

#endif
