// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// LeakSanitizer's option for the emulator's tests: a block that stops abandons the stacks of its
// threads, so what a faulty kernel owned is never freed.
extern "C" const char *__lsan_default_options();
extern "C" const char *__lsan_default_options() { return "detect_leaks=0"; }
