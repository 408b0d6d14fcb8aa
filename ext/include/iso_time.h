/* Times as texts, ISO 8601 in UTC: 2021-04-17T16:43:37.075687Z, with no or 1 to 9 digits behind the point. */
#ifndef FH_ISO_TIME_H
#define FH_ISO_TIME_H
#include <stdint.h>
#include "json_number.h"

static inline int fh_iso_digits(const uint8_t *at, uint32_t count, uint32_t *value)
{
    *value = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint8_t digit = (uint8_t)(at[i] - '0');
        if (digit > 9)
            return 0;
        *value = *value * 10 + digit;
    }
    return 1;
}

static inline uint32_t fh_iso_pair(const uint8_t *at) { return at[0] * 10u + at[1] - '0' * 11u; }

/* Whether of the first 20 bytes just those are digits that must be. */
static inline int fh_iso_shape(const uint8_t *at)
{
#if defined(__SSE2__)
    return fh_digits_of(at) == 0xdb6f && fh_digits_of(at + 4) == 0x6db6;
#else
    for (uint32_t i = 0; i < 20; i++)
        if (fh_is_digit(at[i]) != (int)(0x6db6f >> i & 1))
            return 0;
    return 1;
#endif
}

/* ns since the Unix epoch, from 1970 to 2261; 0 = it is no such text. */
static inline int fh_iso_time(const uint8_t *at, uint32_t len, int64_t *ns)
{
    static const uint8_t days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    uint32_t year, month, day, hour, minute, second, fraction = 0, place, leap, era;
    int64_t number;
    if (len < 20 || len > 30 || at[4] != '-' || at[7] != '-' || at[10] != 'T' || at[13] != ':' || at[16] != ':'
        || at[len - 1] != 'Z' || !fh_iso_shape(at))
        return 0;
    year = fh_iso_pair(at) * 100 + fh_iso_pair(at + 2);
    month = fh_iso_pair(at + 5);
    day = fh_iso_pair(at + 8);
    hour = fh_iso_pair(at + 11);
    minute = fh_iso_pair(at + 14);
    second = fh_iso_pair(at + 17);
    if (len > 20 && (len == 21 || at[19] != '.' || !fh_iso_digits(at + 20, len - 21, &fraction)))
        return 0;
    for (place = len > 20 ? len - 21 : 9; place < 9; place++)
        fraction *= 10;
    leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (year < 1970 || year > 2261 || month - 1 >= 12 || hour > 23 || minute > 59 || second > 59
        || day - 1 >= (uint32_t)days[month - 1] + (month == 2 && leap))
        return 0;
    /* Years begin in March, so that the leap day is the last one. */
    year -= month <= 2;
    era = year / 400;
    year -= era * 400;
    number = (int64_t)era * 146097 + year * 365 + year / 4 - year / 100 + (153 * ((month + 9) % 12) + 2) / 5 + day - 1 - 719468;
    *ns = ((number * 24 + hour) * 3600 + minute * 60 + second) * 1000000000 + fraction;
    return 1;
}
#endif
