// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Something that can be checked and then timed, and the timing.
#ifndef MOHD_TOOLS_MOHD_BENCH_SUBJECT_H
#define MOHD_TOOLS_MOHD_BENCH_SUBJECT_H

#include "Machine.h"
#include "Point.h"

#include <vector>

namespace mohdbench {

/// What verification found.
struct Verified {
  double error = 0;         // relative, Frobenius, of the rows that were compared
  double tolerance = 0;     // what it may be
  const char *against = ""; // what: "f64 loops", ...
};

class Subject {
public:
  virtual ~Subject();
  /// Runs twice on poisoned outputs and compares. Throws a Failure (MISMATCH) if the result is wrong, or differs from
  /// one run to the next.
  virtual Verified verify() = 0;
  /// One call. Successive calls read copies of the weights in turn.
  virtual void run() = 0;
  virtual Work work() const = 0;
  /// Copies of weights that are read in turn.
  virtual size_t numCopies() const = 0;
  virtual double compileSeconds() const = 0;
};

struct MeasureOptions {
  int64_t repetitions = 30; // of each subject
  int64_t warmup = 1;       // runs before, on each copy of the weights
  double maxSeconds = 20;   // for all; at least 3 repetitions are made
};

struct Measured {
  std::vector<std::vector<double>> seconds; // of each run, by subject
  std::vector<double> peak, bandwidth;      // samples between them: FLOP/s, bytes/s
  int64_t warmup = 0;
};

/// Times the subjects in turn, with samples of the machine's limits in between. Stops early, with what there is, once interrupted()
/// holds.
Measured measure(const std::vector<Subject *> &subjects, Machine &machine, uint32_t threads,
                 const MeasureOptions &options);

/// Makes the first SIGINT set interrupted(); a second one ends the process.
void watchInterrupts();
bool interrupted();

} // namespace mohdbench

#endif // MOHD_TOOLS_MOHD_BENCH_SUBJECT_H
