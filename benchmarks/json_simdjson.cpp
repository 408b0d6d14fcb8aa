// The peer of bench_json.py: simdjson On-Demand walks each text once, every price and size to a fixed-point int64.
// Built by the benchmark: g++ -O3 -march=native -std=c++17 -shared -fPIC json_simdjson.cpp -lsimdjson
#include <simdjson.h>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <string_view>
#include <vector>

using namespace simdjson;

static std::vector<padded_string> texts;
static std::vector<int64_t> out(1 << 20);
static ondemand::parser parser;

static inline bool fixed_point(std::string_view text, int decimals, int64_t &units)
{
    static const int64_t power[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000};
    int64_t value = 0;
    int places = -1;
    for (char c : text) {
        unsigned digit = (unsigned)(c - '0');
        if (digit < 10) {
            value = value * 10 + digit;
            places += places >= 0;
        } else if (c == '.' && places < 0) {
            places = 0;
        } else {
            return false;
        }
    }
    if (places < 0)
        places = 0;
    if (places > decimals)
        return false;
    units = value * power[decimals - places];
    return true;
}

extern "C" void keep(const char *data, size_t length) { texts.emplace_back(data, length); }

// Of a venue's level [price, size, …] the first `count` values, each with so many decimals.
static inline bool level_of(ondemand::value level, int count, size_t &at, bool sided)
{
    static const int decimals[] = {9, 8, 9};
    int number = sided ? -1 : 0;
    for (ondemand::value value : level.get_array()) {
        std::string_view text = value.get_string();
        if (number >= 0 && number < count && !fixed_point(text, decimals[number], out[at++]))
            return false;
        number++;
    }
    return true;
}

static bool binance(ondemand::document &document, uint64_t &sum, size_t &at)
{
    ondemand::object data = document["data"].get_object();
    sum += uint64_t(data["E"].get_uint64());
    std::string_view symbol = data["s"].get_string();
    sum += symbol.size() + uint64_t(data["U"].get_uint64()) + uint64_t(data["u"].get_uint64());
    for (const char *side : {"b", "a"})
        for (ondemand::value level : data[side].get_array())
            if (!level_of(level, 2, at, false))
                return false;
    return true;
}

static bool coinbase(ondemand::document &document, uint64_t &sum, size_t &at)
{
    std::string_view type = document["type"].get_string(), product = document["product_id"].get_string();
    sum += type.size() + product.size();
    for (ondemand::value level : document["changes"].get_array())
        if (!level_of(level, 2, at, true))
            return false;
    std::string_view time = document["time"].get_string();
    sum += time.size();
    return true;
}

static bool kraken(ondemand::document &document, uint64_t &sum, size_t &at)
{
    int place = 0;
    for (ondemand::value item : document.get_array()) {
        if (place == 0) {
            sum += uint64_t(item.get_uint64());
        } else if (place == 1) {
            for (ondemand::field field : item.get_object()) {
                if (field.key() == "c") {
                    sum += uint64_t(field.value().get_uint64_in_string());
                    continue;
                }
                for (ondemand::value level : field.value().get_array())
                    if (!level_of(level, 3, at, false))
                        return false;
            }
        } else {
            std::string_view name = item.get_string();
            sum += name.size();
        }
        place++;
    }
    return true;
}

static bool bitstamp(ondemand::document &document, uint64_t &sum, size_t &at)
{
    ondemand::object data = document["data"].get_object();
    sum += uint64_t(data["microtimestamp"].get_uint64_in_string());
    for (const char *side : {"bids", "asks"})
        for (ondemand::value level : data[side].get_array())
            if (!level_of(level, 2, at, false))
                return false;
    std::string_view channel = document["channel"].get_string(), event = document["event"].get_string();
    sum += channel.size() + event.size();
    return true;
}

// Walks all texts of a venue; CPU time of the thread in ns, below 0 = a text was not as expected. `levels`: how many were
// read.
extern "C" double walk(int venue, uint64_t *levels)
{
    static bool (*const readers[])(ondemand::document &, uint64_t &, size_t &) = {binance, coinbase, kraken, bitstamp};
    static const size_t numbers[] = {2, 2, 3, 2};
    timespec begin, end;
    uint64_t count = 0, sum = 0;
    auto read = readers[venue];
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
    try {
        for (auto &text : texts) {
            ondemand::document document = parser.iterate(text);
            size_t at = 0;
            if (!read(document, sum, at))
                return -1;
            count += at / numbers[venue];
            sum += (uint64_t)out[at - 1];
        }
    } catch (simdjson_error &) {
        return -1;
    }
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    *levels = count + (sum == 0);
    return (end.tv_sec - begin.tv_sec) * 1e9 + (end.tv_nsec - begin.tv_nsec);
}
