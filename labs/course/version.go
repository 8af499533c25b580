package course

import (
	"os"
	"strings"

	"sluice/firewall/fault"
	"sluice/labs/labfile"
)

// Whose parameters count where a submission does not say.
const (
	drawnByFolder = "folder" // those of the folder's name
	drawnByNobody = "nobody" // those of a lab that was deployed without --student
)

// settle settles whose version of the lab a submission is of, and which hints were asked for: what its cover sheet
// says. So what the student's own check found right is right when it is graded, whatever the folder is called; and
// whoever grades is told the name.
func (s *submission) settle() error {
	own, err := labfile.Load(s.ref)
	if err != nil || own.Holds(s.work.Folder) {
		return err // the lab's own solution, and the like, are of any version
	}
	if _, err := os.Stat(s.work.Folder); err != nil {
		return nil // which is told where it is read
	}
	if s.cover, err = labfile.ReadCover(s.work.Folder); err != nil {
		return err
	}
	drawn := len(own.Params) > 0
	switch c := s.cover; {
	case c == nil && drawn && s.graded != "":
		return s.unsaid()
	case c == nil && drawn && s.work.Student == "":
		s.note("%s does not say whose version of the lab it is: nobody's is taken. sluice lab submit %s makes it say so; it cannot be graded without", s.work.Folder, s.work.Folder)
	case c == nil:
	case s.graded == "" && s.work.Student != "" && s.work.Student != c.Student:
		return fault.Errorf(fault.BadInput, "%s says that it is of %s, and --student says %s",
			labfile.CoverFile, labfile.OrNobody(c.Student), s.work.Student)
	default:
		s.work.Student = c.Student
		theirs, err := labfile.LoadWork(s.ref, labfile.Work{Student: c.Student})
		if err != nil {
			return err
		}
		return c.Fits(theirs, own.Name)
	}
	return nil
}

// unsaid is for a submission without a cover sheet to a lab whose parameters are drawn: as whoever grades has said, or
// it is refused. To guess would cost right work its points.
func (s *submission) unsaid() error {
	if worksIn(s.work.Folder) == nil {
		return nil // there is nothing at all, which is told where it is read
	}
	switch s.drawnBy {
	case drawnByFolder:
		s.work.Student = s.graded
	case drawnByNobody:
		s.work.Student = ""
	default:
		return fault.Errorf(fault.BadInput, "it does not say for whom the lab's parameters were drawn: let it be submitted with sluice lab submit, or say --drawn-by folder or nobody")
	}
	return nil
}

// remarks are what whoever grades should know of a cover sheet.
func (s *submission) remarks(drawn bool) (out []string) {
	switch c := s.cover; {
	case c == nil && s.graded != "":
		return []string{"no " + labfile.CoverFile + ": hints that were asked for are not known"}
	case s.graded == "":
		return nil
	default:
		if c.Edited {
			out = append(out, labfile.CoverFile+" was edited by hand")
		}
		if drawn && !strings.EqualFold(strings.TrimSpace(c.Student), strings.TrimSpace(s.graded)) {
			out = append(out, "drawn for "+labfile.OrNobody(c.Student))
		}
	}
	return out
}
