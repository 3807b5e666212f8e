/* Children: started with posix_spawn, heard through one pipe, stopped with Ctrl-C. */
#include "cli/program.h"

#include "base/progress.h"
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

mica_status program_start(program *p, const char *const *argv, const char *what) {
  int ends[2];
  *p = (program){.pid = -1, .pipe = -1};
  if (pipe2(ends, O_CLOEXEC) != 0)
    return mica_fail(MICA_ERR_IO, "no pipe for %s: %s", argv[0], strerror(errno));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
  const int failed = posix_spawnp(&p->pid, argv[0], &actions, NULL, (char **)argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (failed) {
    close(ends[0]);
    p->pid = -1;
    if (failed == ENOENT)
      return mica_fail(MICA_ERR_UNSUPPORTED,
                       "the program '%s' is not installed: it is needed to %s", argv[0], what);
    return mica_fail(MICA_ERR_IO, "%s: cannot be started: %s", argv[0], strerror(failed));
  }
  p->pipe = ends[0];
  fcntl(p->pipe, F_SETFL, O_NONBLOCK);
  return MICA_OK;
}

/* Take what has been printed; the oldest half is forgotten when there is much. */
static void listen_to(program *p) {
  for (;;) {
    if (p->n > sizeof p->text / 2) {
      const size_t drop = p->n - sizeof p->text / 2;
      memmove(p->text, p->text + drop, p->n - drop);
      p->n -= drop;
    }
    const ssize_t got = read(p->pipe, p->text + p->n, sizeof p->text - 1 - p->n);
    if (got > 0) p->n += (size_t)got;
    p->text[p->n] = 0;
    if (got <= 0 && !(got < 0 && errno == EINTR)) return;
  }
}

bool program_ended(program *p, double seconds, int *code) {
  const double until = mica_seconds() + seconds;
  for (;;) {
    int status = 0;
    const pid_t done = waitpid(p->pid, &status, WNOHANG);
    listen_to(p);
    if (done == p->pid || (done < 0 && errno != EINTR)) {
      close(p->pipe);
      p->pid = p->pipe = -1;
      *code = done < 0              ? 127
              : WIFEXITED(status)   ? WEXITSTATUS(status)
              : WIFSIGNALED(status) ? 128 + WTERMSIG(status)
                                    : 127;
      return true;
    }
    const double left = until - mica_seconds();
    if (left <= 0) return false;
    struct pollfd wait = {.fd = p->pipe, .events = POLLIN};
    poll(&wait, 1, left < 0.05 ? 1 + (int)(left * 1000) : 50);
    if (wait.revents & POLLHUP) usleep(2000); /* it has closed its output and is about to end */
  }
}

void program_stop(program *p) {
  int code;
  if (p->pid <= 0) return;
  kill(p->pid, SIGTERM);
  if (program_ended(p, 2, &code)) return;
  kill(p->pid, SIGKILL);
  program_ended(p, 10, &code);
}

const char *program_complaint(program *p) {
  while (p->n && strchr("\r\n ", p->text[p->n - 1])) p->text[--p->n] = 0;
  const char *line = strrchr(p->text, '\n');
  line = line ? line + 1 : p->text;
  const char *colon = strstr(line, ": ");
  return colon && (size_t)(colon - line) < 12 ? colon + 2 : line;
}

mica_status program_run(const char *const *argv, const char *what) {
  program p;
  int code = 0;
  mica_status status = program_start(&p, argv, what);
  if (status != MICA_OK) return status;
  while (!program_ended(&p, 0.2, &code))
    if (cli_interrupted()) {
      program_stop(&p);
      return mica_fail(MICA_ERR_CANCELLED, "stopped");
    }
  if (cli_interrupted()) return mica_fail(MICA_ERR_CANCELLED, "stopped");
  if (code == 0) return MICA_OK;
  const char *why = program_complaint(&p);
  return mica_fail(MICA_ERR_IO, "%s failed with code %d%s%s", argv[0], code, *why ? ": " : "", why);
}
