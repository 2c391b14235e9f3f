package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Backup keeps what etcd has now, in place of an earlier backup. API server, etcd and controllers are away meanwhile; it returns
// when they are back.
func (c *ControlPlane) Backup(ctx context.Context) error {
	return c.replaceData(ctx, "back up", c.files.etcdData, c.files.etcdBackup)
}

// Restore puts back what etcd had at the last Backup, so that resourceVersions go back, too. API server, etcd and controllers
// are away meanwhile; it returns when they are back.
func (c *ControlPlane) Restore(ctx context.Context) error {
	if _, err := os.Stat(c.files.etcdBackup); err != nil { // before anything is lost
		return fmt.Errorf("restore etcd: %w", err)
	}
	return c.replaceData(ctx, "restore", c.files.etcdBackup, c.files.etcdData)
}

// replaceData copies a directory of etcd's over another while nothing runs. Where that fails everything is started nevertheless.
func (c *ControlPlane) replaceData(ctx context.Context, what, from, to string) error {
	if c.controllers != nil {
		c.controllers.stop(0) // what it knows is from before: it has to read everything anew
	}
	c.StopAPIServer()
	c.etcd.stop(stopPatience)
	err := os.RemoveAll(to)
	if err == nil {
		err = os.CopyFS(to, os.DirFS(from))
	}
	if err == nil {
		err = os.Chmod(to, 0o700) // as etcd has it
	}
	if err := errors.Join(err, c.startAll(ctx)); err != nil {
		return fmt.Errorf("%s etcd: %w", what, err)
	}
	return nil
}
