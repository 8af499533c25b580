package running

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"sluice/vswitch/control"
	"sluice/vswitch/kernel"
)

// Run is the process of a lab. Confined says that it has started afresh already: else that is all it does, and where it
// cannot, its parent is told.
func Run(ctx context.Context, dir string, confined bool) error {
	if !confined {
		return reported(startAfresh(dir))
	}
	return runLab(ctx, dir)
}

// runLab is the lab process proper: it builds the lab that its state folder describes, serves it, and takes it down
// when ctx ends. It was started in the lab's namespace, with the lock, the host's namespace and the reports' pipe as
// its files. Like all that is open when main begins they are close-on-exec: a guest that inherited the lock would hold
// it after this process's death.
func runLab(ctx context.Context, dir string) error {
	pipe := os.NewFile(fdReports, "reports")
	reports := newReporter(pipe)
	err := serveLab(ctx, dir, reports, pipe.Close)
	if err != nil {
		reports.failed(err)
	}
	return err
}

// reported tells the parent of an error that keeps the lab process from its work.
func reported(err error) error {
	if err != nil {
		newReporter(os.NewFile(fdReports, "reports")).failed(err)
	}
	return err
}

func serveLab(ctx context.Context, dir string, reports *reporter, reported func() error) (err error) {
	logs, err := openLogs(dir)
	if err != nil {
		return err
	}
	defer logs.close()
	d, err := readDeployment(dir)
	if err != nil {
		return fmt.Errorf("read the deployment: %w", err)
	}
	lab, err := d.lab()
	if err != nil {
		return err
	}
	held, err := d.Image.Hold() // also while no machine runs: one may be restarted
	if err != nil {
		return err
	}
	defer held.Close()
	if err := d.inherit(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	hostNS := os.NewFile(fdHostNS, "host namespace")
	chosen, err := chooseEngine(d.Engine, kernel.Check, reports.progress)
	if err != nil {
		return err
	}
	w, err := newWorld(lab, d, chosen, dir, hostNS, stop)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	go logs.keepEvents(w.sw.Events())
	if err := w.build(ctx, reports.progress); err != nil {
		return err
	}
	hostNS.Close() // guests of kind host have their devices by now, and nothing else is done there
	listener, err := control.Listen(dir)
	if err != nil {
		return err
	}
	server := control.NewServer(w.sw, w)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	reports.ready()
	if err := reported(); err != nil {
		slog.Warn("the parent has gone", "error", err)
	}
	slog.Info("lab is ready", "lab", lab.Name, "guests", len(w.guests))
	select {
	case <-ctx.Done():
	case err := <-served:
		return fmt.Errorf("serve the lab: %w", err)
	}
	return shutDown(server)
}

// shutDown lets requests that run have a moment to end: among them may be the one that asked for the end.
func shutDown(s *control.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return s.Shutdown(ctx)
}
