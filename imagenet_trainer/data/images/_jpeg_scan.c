/* Huffman decoding of a scan for libjpeg, in which only the blocks of a window are decoded.
 *
 * Half of the time of a JPEG is Huffman decoding, and all data before the window must be passed.
 * libjpeg decodes them as if they were needed, and slowly in files with restart markers. Here a
 * block that is not needed is passed code by code, without its coefficients; and whole intervals
 * between restart markers are passed by looking for the next marker.
 *
 * Everything that a normal file does not have is an error, for which the caller decodes the whole
 * image by other means: a code that is not in the table, too many coefficients or bytes, a missing
 * marker. So there is no repair here, and every read is inside the file.
 *
 * Coding: ITU-T T.81, annexes C and F.
 */

#include "_jpeg_scan.h"

#include <string.h>

#include <jerror.h>

/* The first members of libjpeg's structure of this name. Its header is not installed. They are the
 * same in all versions since 1994; setup.py's tests would notice others. */
struct jpeg_entropy_decoder {
    void (*start_pass)(j_decompress_ptr jpeg);
    boolean (*decode_mcu)(j_decompress_ptr jpeg, JBLOCKROW *blocks);
};

#define END_OF_BLOCK 127 /* advance of the symbol that ends a block */
#define DAMAGED (DCTSIZE2 << 9) /* an entry whose advance is none of a normal block */
#define LOADED (SCAN_LOOK + 15) /* bits of a code that is looked up, or of a pair, with its value */
#define OUTSIDE (1 << 20)       /* a difference of DC coefficients that none has */

/* Where in a block the coefficients are, which are stored from low to high frequencies. The end of
 * a block is a 0 for the last one, which saves a comparison. */
#define LAST_16 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63
static const unsigned char positions[DCTSIZE2 + END_OF_BLOCK + 1] = {
     0,  1,  8, 16,  9,  2,  3, 10, 17, 24, 32, 25, 18, 11,  4,  5,
    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13,  6,  7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
    LAST_16, LAST_16, LAST_16, LAST_16, LAST_16, LAST_16, LAST_16, LAST_16,
};

/* --- codes ----------------------------------------------------------------------------------- */

static uint16_t entry_of(const struct codes *codes, unsigned length, unsigned symbol)
{
    unsigned size = symbol & 15, advance = (symbol >> 4) + 1;
    if (!codes->is_dc && size == 0 && advance < 16)
        advance = END_OF_BLOCK;
    return (uint16_t)((length + size) | size << 5 | advance << 9);
}

/* Prepare the codes of a table that libjpeg has checked: they fit, and DC sizes are below 16. */
static void prepare(j_decompress_ptr jpeg, struct codes *codes, const JHUFF_TBL *table, int is_dc)
{
    unsigned length, i, code = 0, symbol = 0;

    codes->is_dc = is_dc, codes->has_pairs = 0;
    codes->symbols = table->huffval;
    memset(codes->entries, 0, sizeof codes->entries);
    for (length = 1; length <= 16; length++, code <<= 1) {
        unsigned count = table->bits[length];
        if (symbol + count > 256 || code + count > 1u << length)
            ERREXIT(jpeg, JERR_BAD_HUFF_TABLE);
        codes->offsets[length] = (int32_t)symbol - (int32_t)code;
        codes->last[length] = count ? (int32_t)(code + count) - 1 : -1;
        for (i = 0; i < count; i++, code++, symbol++) {
            uint16_t entry = entry_of(codes, length, table->huffval[symbol]);
            unsigned rest = SCAN_LOOK - length, each;
            if (length > SCAN_LOOK)
                continue;
            for (each = 0; each < 1u << rest; each++)
                codes->entries[(code << rest) + each] = entry;
        }
    }
}

/* Prepare to pass two codes at once, where both are among the bits that are looked up. */
static void prepare_pairs(struct codes *codes)
{
    unsigned first;
    codes->has_pairs = 1;
    for (first = 0; first < 1u << SCAN_LOOK; first++) {
        unsigned one = codes->entries[first], all = one & 31, advance = one >> 9;
        if (all < SCAN_LOOK && advance < END_OF_BLOCK) {
            unsigned other = codes->entries[first << all & ((1u << SCAN_LOOK) - 1)];
            unsigned length = (other & 31) - (other >> 5 & 15);
            if (other != 0 && all + length <= SCAN_LOOK)
                all += other & 31, advance += other >> 9;
        }
        codes->pairs[first] = (uint16_t)(all | advance << 5);
    }
}

/* The entry of the next code, which is longer than those looked up; DAMAGED if there is none. */
static uint16_t long_code(const struct codes *codes, uint64_t next)
{
    unsigned length;
    for (length = SCAN_LOOK + 1; length <= 16; length++) {
        int32_t code = (int32_t)(next >> (64 - length));
        if (code <= codes->last[length])
            return entry_of(codes, length, codes->symbols[code + codes->offsets[length]]);
    }
    return DAMAGED;
}

/* --- bits ------------------------------------------------------------------------------------ */

/* Load bytes up to a marker or the end of the file, one by one. */
static void load_slowly(struct bits *bits)
{
    while (bits->count >= 0 && bits->count < 56 && bits->at < bits->end) {
        unsigned char byte = *bits->at;
        if (byte == 0xFF) {
            if (bits->end - bits->at < 2 || bits->at[1] != 0)
                return; /* a marker */
            bits->at++;
        }
        bits->at++;
        bits->next |= (uint64_t)byte << (56 - bits->count);
        bits->count += 8;
    }
}

/* Load 56 to 63 bits, or as many as there are before a marker. */
static inline void load(struct bits *bits)
{
    const unsigned char *at = bits->at;
    if (bits->end - at >= 8) {
        uint64_t bytes = (uint64_t)at[0] << 56 | (uint64_t)at[1] << 48 | (uint64_t)at[2] << 40
            | (uint64_t)at[3] << 32 | (uint64_t)at[4] << 24 | (uint64_t)at[5] << 16
            | (uint64_t)at[6] << 8 | (uint64_t)at[7];
        /* No byte is 0xFF. So no data are missing, and `count` is not negative. Bits of a byte that
         * fits in part are loaded again with the rest. */
        if ((bytes & (~bytes - UINT64_C(0x0101010101010101)) & UINT64_C(0x8080808080808080)) == 0) {
            bits->next |= bytes >> bits->count;
            bits->at = at + ((63 - bits->count) >> 3);
            bits->count |= 56;
            return;
        }
    }
    load_slowly(bits);
}

/* Take the entry of the next code, and leave its value in `value`, highest bits first. LOADED bits
 * must be loaded, or all that there are. */
static inline unsigned take(struct bits *bits, const struct codes *codes, uint64_t *value)
{
    unsigned all, entry = codes->entries[bits->next >> (64 - SCAN_LOOK)];
    if (entry == 0) {
        load(bits);
        entry = long_code(codes, bits->next);
    }
    all = entry & 31;
    *value = bits->next << (all - (entry >> 5 & 15));
    bits->next <<= all;
    bits->count -= (int)all;
    return entry;
}

/* The number that the highest `size` bits stand for. */
static inline int number_of(uint64_t value, unsigned size)
{
    int number = (int)(value >> 1 >> (63 - size));
    return number + (((int)(value >> 63) - 1) & (1 - (1 << size))); /* no branch: it is random */
}

/* --- blocks ---------------------------------------------------------------------------------- */

/* Whether a block of this DC ended normally, `at` a coefficient, which its last code led to. */
static inline int is_normal(const struct bits *bits, int dc, unsigned at)
{
    return (at == DCTSIZE2 - 1 || (at >= END_OF_BLOCK && at < END_OF_BLOCK + DCTSIZE2 - 1))
        && bits->count >= 0 && dc >= -32768 && dc <= 32767;
}

/* Read a DC code, for which it loads bits; a code with LOADED bits may follow. */
static inline void read_dc(struct bits *bits, const struct codes *codes, int *last_dc)
{
    uint64_t value;
    unsigned entry;
    load(bits);
    entry = take(bits, codes, &value);
    *last_dc += entry == DAMAGED ? OUTSIDE : number_of(value, entry >> 5 & 15);
}

/* Read an AC code into the block, or only past it if that is NULL; return the coefficient. */
static inline unsigned read_ac(struct bits *bits, const struct codes *codes, unsigned at,
                               JCOEF *block)
{
    uint64_t value;
    unsigned entry = take(bits, codes, &value);
    at += entry >> 9;
    if (block != NULL)
        block[positions[at]] = (JCOEF)number_of(value, entry >> 5 & 15);
    return at;
}

/* Read a block into `block`, or only past it if that is NULL; return 0 if it is damaged. */
static inline int read_block(struct bits *bits, const struct codes *dc, const struct codes *ac,
                             int *last_dc, JCOEF *block)
{
    unsigned at = 0;

    read_dc(bits, dc, last_dc);
    if (block != NULL)
        block[0] = (JCOEF)*last_dc;
    at = read_ac(bits, ac, at, block);
    while (at < DCTSIZE2 - 1) {
        load(bits); /* for two codes: fewer branches than for each that needs it */
        at = read_ac(bits, ac, at, block);
        if (at < DCTSIZE2 - 1)
            at = read_ac(bits, ac, at, block);
    }
    return is_normal(bits, *last_dc, at);
}

/* Pass two codes, or one where the second is longer; return the coefficient. */
static inline unsigned pass_pair(struct bits *bits, const struct codes *codes, unsigned at)
{
    unsigned pair = codes->pairs[bits->next >> (64 - SCAN_LOOK)];
    if (pair == 0)
        return read_ac(bits, codes, at, NULL);
    bits->next <<= pair & 31;
    bits->count -= (int)(pair & 31);
    return at + (pair >> 5);
}

/* Read past a block; return 0 if it is damaged. */
static inline int pass_block(struct bits *bits, const struct codes *dc, const struct codes *ac,
                             int *last_dc)
{
    const struct bits bits_before = *bits;
    const int dc_before = *last_dc;
    unsigned at;

    read_dc(bits, dc, last_dc);
    at = pass_pair(bits, ac, 0);
    while (at < DCTSIZE2 - 1) {
        load(bits);
        at = pass_pair(bits, ac, at);
        if (at < DCTSIZE2 - 1)
            at = pass_pair(bits, ac, at);
    }
    if (is_normal(bits, *last_dc, at))
        return 1;
    *bits = bits_before, *last_dc = dc_before; /* the second of a pair may be of the next block */
    return read_block(bits, dc, ac, last_dc, NULL);
}

static void read_mcu(j_decompress_ptr jpeg, struct scan *scan, JBLOCKROW *blocks)
{
    struct bits bits = scan->bits; /* in registers */
    int i, done = 1;

    for (i = 0; i < jpeg->comps_in_scan && blocks == NULL; i++) {
        struct codes *ac = &scan->ac[jpeg->cur_comp_info[i]->ac_tbl_no];
        if (!ac->has_pairs)
            prepare_pairs(ac);
    }
    for (i = 0; i < jpeg->blocks_in_MCU && done; i++) {
        int number = jpeg->MCU_membership[i];
        const jpeg_component_info *component = jpeg->cur_comp_info[number];
        const struct codes *dc = &scan->dc[component->dc_tbl_no];
        const struct codes *ac = &scan->ac[component->ac_tbl_no];
        done = blocks != NULL
            ? read_block(&bits, dc, ac, &scan->last_dc[number], *blocks[i])
            : pass_block(&bits, dc, ac, &scan->last_dc[number]);
    }
    if (!done && bits.count < 0)
        ERREXIT(jpeg, JWRN_HIT_MARKER);
    if (!done)
        ERREXIT(jpeg, JWRN_HUFF_BAD_CODE);
    scan->bits = bits;
}

/* --- intervals between restart markers ------------------------------------------------------- */

/* Whether an MCU of the interval that begins at the next one may be needed. */
static int is_interval_needed(const struct scan *scan, JDIMENSION interval, JDIMENSION across)
{
    const struct area *area = &scan->needed;
    JDIMENSION last = scan->column + interval - 1, last_row = scan->row + last / across;
    if (last_row < area->top || scan->row >= area->bottom)
        return 0;
    return last >= across || (last >= area->left && scan->column < area->right);
}

/* Pass the rest of an interval, up to its marker, or to the end of the file. */
static void pass_interval(struct bits *bits)
{
    const unsigned char *at = bits->at, *end = bits->end;
    while ((at = memchr(at, 0xFF, (size_t)(end - at))) != NULL && end - at >= 2 && at[1] == 0)
        at += 2;
    bits->at = at != NULL ? at : end;
    bits->next = 0, bits->count = 0;
}

/* Pass the marker, which must follow, and begin the next interval. */
static void restart(j_decompress_ptr jpeg, struct scan *scan)
{
    struct bits *bits = &scan->bits;
    if (scan->is_skipped)
        pass_interval(bits);
    if (bits->count >= 8 || bits->end - bits->at < 2 || bits->at[0] != 0xFF
        || bits->at[1] != JPEG_RST0 + scan->restarts % 8)
        ERREXIT(jpeg, JWRN_MUST_RESYNC);
    bits->at += 2;
    bits->next = 0, bits->count = 0;
    memset(scan->last_dc, 0, sizeof scan->last_dc);
    scan->restarts++;
    scan->to_restart = jpeg->restart_interval;
}

/* libjpeg's call for an MCU; `blocks` are zero, or NULL if they are not needed. */
static boolean decode_mcu(j_decompress_ptr jpeg, JBLOCKROW *blocks)
{
    struct scan *scan = jpeg->client_data;
    const struct area *needed = &scan->needed;

    if (jpeg->restart_interval > 0) {
        if (scan->to_restart == 0)
            restart(jpeg, scan);
        if (scan->to_restart == jpeg->restart_interval)
            scan->is_skipped = scan->skips
                && !is_interval_needed(scan, jpeg->restart_interval, jpeg->MCUs_per_row);
        scan->to_restart--;
    }
    if (!scan->is_skipped) {
        int is_needed = scan->row >= needed->top && scan->row < needed->bottom
            && scan->column >= needed->left && scan->column < needed->right;
        read_mcu(jpeg, scan, is_needed ? blocks : NULL);
    }
    if (++scan->column == jpeg->MCUs_per_row) {
        scan->column = 0;
        if (++scan->row == jpeg->MCU_rows_in_scan) { /* libjpeg goes on where the data end */
            if (scan->bits.count >= 8)
                ERREXIT(jpeg, JWRN_EXTRANEOUS_DATA);
            jpeg->src->next_input_byte = scan->bits.at;
            jpeg->src->bytes_in_buffer = (size_t)(scan->bits.end - scan->bits.at);
        }
    }
    return TRUE;
}

void scan_begin(j_decompress_ptr jpeg, struct scan *scan, struct area needed, int to_end)
{
    int i;
    unsigned prepared = 0;

    scan->bits.at = jpeg->src->next_input_byte;
    scan->bits.end = scan->bits.at + jpeg->src->bytes_in_buffer;
    scan->bits.next = 0, scan->bits.count = 0;
    scan->needed = needed;
    scan->skips = !to_end;
    scan->column = scan->row = 0;
    scan->to_restart = jpeg->restart_interval;
    scan->restarts = 0;
    scan->is_skipped = 0;
    memset(scan->last_dc, 0, sizeof scan->last_dc);
    for (i = 0; i < jpeg->comps_in_scan; i++) {
        int dc = jpeg->cur_comp_info[i]->dc_tbl_no, ac = jpeg->cur_comp_info[i]->ac_tbl_no;
        if (!(prepared & 1u << dc))
            prepare(jpeg, &scan->dc[dc], jpeg->dc_huff_tbl_ptrs[dc], 1);
        if (!(prepared & 256u << ac))
            prepare(jpeg, &scan->ac[ac], jpeg->ac_huff_tbl_ptrs[ac], 0);
        prepared |= 1u << dc | 256u << ac;
    }
    jpeg->client_data = scan;
    jpeg->entropy->decode_mcu = decode_mcu;
}
