package registrar

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/prometheus/procfs"

	"github.com/pgpatron/pgpatron/state"
)

// capacity asks Docker what the host has, but for the disk, and where it keeps
// its data.
func (d *docker) capacity(ctx context.Context) (state.Capacity, string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	info, err := d.client.Info(ctx)
	if err != nil {
		return state.Capacity{}, "", fmt.Errorf("asking docker about the host: %w", err)
	}
	return state.Capacity{CPUs: info.NCPU, MemoryMB: int(info.MemTotal >> 20)}, info.DockerRootDir, nil
}

// disk returns what the disk under a folder has, and what of it is in use, in
// MiB, both without what only root may use. Both are 0 where the folder is not
// this host's, because Docker is elsewhere.
func disk(folder string) (total, used int, err error) {
	var stat syscall.Statfs_t
	err = syscall.Statfs(folder, &stat)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("looking at the disk of %s: %w", folder, err)
	}
	inUse := stat.Blocks - stat.Bfree
	mb := func(blocks uint64) int { return int(blocks * uint64(stat.Bsize) >> 20) }
	return mb(inUse + stat.Bavail), mb(inUse), nil
}

// memoryInUse returns what can not be had without pushing something out, in MiB.
func memoryInUse() (int, error) {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, err
	}
	info, err := proc.Meminfo()
	if err != nil {
		return 0, fmt.Errorf("reading the use of memory: %w", err)
	}
	if info.MemTotal == nil || info.MemAvailable == nil {
		return 0, errors.New("reading the use of memory: the kernel does not say")
	}
	return int((*info.MemTotal - *info.MemAvailable) >> 10), nil
}

// cpuTime is what all cores together did up to some moment, in seconds.
type cpuTime struct {
	busy, total float64
}

// next reads the time anew and returns how busy the cores were since the last
// reading, in percent.
func (c *cpuTime) next() (int, error) {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return 0, err
	}
	stat, err := proc.Stat()
	if err != nil {
		return 0, fmt.Errorf("reading the use of CPU: %w", err)
	}
	t := stat.CPUTotal
	idle := t.Idle + t.Iowait
	now := cpuTime{busy: t.User + t.Nice + t.System + t.IRQ + t.SoftIRQ + t.Steal}
	now.total = now.busy + idle
	percent := 0
	if span := now.total - c.total; span > 0 {
		percent = int(100 * (now.busy - c.busy) / span)
	}
	*c = now
	return min(max(percent, 0), 100), nil
}
