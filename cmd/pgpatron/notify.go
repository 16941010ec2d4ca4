package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// What systemd is told, see sd_notify(3). Without NOTIFY_SOCKET nobody asked.

// notify sends one state to systemd.
func notify(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	if strings.HasPrefix(path, "@") {
		path = "\x00" + path[1:]
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("telling systemd %s: %w", state, err)
	}
	defer conn.Close()
	_, err = conn.Write([]byte(state))
	return err
}

// notifyReady tells systemd that the process does its work, as soon as wait
// returns, and that it is going to end, when ctx ends.
func notifyReady(ctx context.Context, log *slog.Logger, wait func(context.Context) error) error {
	if err := wait(ctx); err != nil {
		return nil // ctx ended first
	}
	log.InfoContext(ctx, "ready")
	if err := notify("READY=1"); err != nil {
		return err
	}
	<-ctx.Done()
	return notify("STOPPING=1")
}

// keepWatchdogQuiet tells systemd twice in each of its periods that the process
// still gets its turns. It says no more than that: what hangs on etcd or on
// Docker is not mended by a restart.
func keepWatchdogQuiet(ctx context.Context, log *slog.Logger) {
	period := watchdogPeriod()
	if period == 0 {
		return
	}
	turns := time.NewTicker(period / 2)
	defer turns.Stop()
	for {
		if err := notify("WATCHDOG=1"); err != nil {
			log.WarnContext(ctx, "quieting the watchdog", "err", err)
		}
		select {
		case <-turns.C:
		case <-ctx.Done():
			return
		}
	}
}

// watchdogPeriod is how long systemd bears this process's silence; 0: for ever.
func watchdogPeriod() time.Duration {
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	us, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || us <= 0 {
		return 0
	}
	return time.Duration(us) * time.Microsecond
}
