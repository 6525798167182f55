// The loop that measures the peak: what it says it has multiplied, it has.
#include "buffers.h"
#include "check.h"
#include "inputs.h"

namespace kernel_check {

void check_int8_peak(Run& run) {
    using pyruntime::kLanes;
    const Array<uint8_t> w(kLanes * 4);
    const Array<int8_t> x(kLanes * 4);
    for (int64_t rounds : {1, 2, 12}) {
        Random r(uint32_t(40 + rounds));
        int32_t expected[kLanes] = {};
        for (int i = 0; i < kLanes * 4; i++) {
            w.data()[i] = uint8_t(r.below(16));
            // Twelve steps, in pairs, fit AVX2's int16: 12 * 2 * 15 * 90 = 32,400.
            x.data()[i] = i < 4 ? int8_t(int(r.below(181)) - 90) : x.data()[i % 4];
            expected[i / 4] += w.data()[i] * x.data()[i];
        }
        for (int shape = 0; shape < pyruntime::kPeakShapes; shape++) {
            run.begin(text("int8_peak shape %d, %d rounds", shape, int(rounds)));
            int32_t sums[kLanes] = {};
            const int64_t products = run.k.int8_peak(shape, w.data(), x.data(), rounds, sums);
            const int64_t steps = products / (kLanes * 4);
            run.require(steps > 0 && steps % rounds == 0 && products % (kLanes * 4) == 0, "no whole rounds");
            for (int row = 0; row < kLanes; row++)
                run.require(sums[row] == steps * expected[row], text("row %d: %d", row, int(sums[row])));
        }
    }
}

}  // namespace kernel_check
