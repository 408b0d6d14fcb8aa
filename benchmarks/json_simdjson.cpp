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

// Walks all texts; CPU time of the thread in ns, below 0 = a text was not as expected. `levels`: how many were read.
extern "C" double walk(uint64_t *levels)
{
    timespec begin, end;
    uint64_t count = 0, sum = 0;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
    try {
        for (auto &text : texts) {
            ondemand::document document = parser.iterate(text);
            ondemand::object data = document["data"].get_object();
            sum += uint64_t(data["E"].get_uint64());
            std::string_view symbol = data["s"].get_string();
            sum += symbol.size() + uint64_t(data["U"].get_uint64()) + uint64_t(data["u"].get_uint64());
            size_t at = 0;
            for (const char *side : {"b", "a"}) {
                for (ondemand::array level : data[side].get_array()) {
                    int decimals = 9;
                    for (ondemand::value value : level) {
                        if (!fixed_point(value.get_string(), decimals, out[at++]))
                            return -1;
                        decimals = 8;
                    }
                }
            }
            count += at / 2;
            sum += (uint64_t)out[at - 1];
        }
    } catch (simdjson_error &) {
        return -1;
    }
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    *levels = count + (sum == 0);
    return (end.tv_sec - begin.tv_sec) * 1e9 + (end.tv_nsec - begin.tv_nsec);
}
