import pytest
import torch
from timm.layers import DropPath
from torch import nn

from dinocli.dino.teacher import make_teacher, update_teacher


class Student(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), DropPath(0.5))
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(self.body(x))
        return y


@pytest.fixture
def student() -> Student:
    torch.manual_seed(0)
    return Student()


def moved(student: Student, momentum: float) -> list[torch.Tensor]:
    """Return the update of each parameter of a new teacher when the student differs by 1 everywhere."""
    teacher = make_teacher(student)
    before = [parameter.clone() for parameter in teacher.parameters()]
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    update_teacher(teacher.parameters(), student.parameters(), momentum)
    return [after - start for after, start in zip(teacher.parameters(), before, strict=True)]


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.996, 1.0])
def test_the_teacher_moves_by_one_minus_m(student: Student, momentum: float) -> None:
    for distance in moved(student, momentum):
        torch.testing.assert_close(distance, torch.full_like(distance, 1 - momentum), atol=1e-6, rtol=0)


def test_higher_momentum_moves_less(student: Student) -> None:
    near, far = moved(student, 0.99), moved(student, 0.9)
    assert all((a.abs() < b.abs()).all() for a, b in zip(near, far, strict=True))


def test_average_equals_the_slow_loop(student: Student) -> None:
    teacher = make_teacher(student)
    torch.manual_seed(1)
    expected = {name: parameter.clone() for name, parameter in teacher.named_parameters()}
    for momentum in (0.9, 0.95, 0.99):
        for name, parameter in student.named_parameters():
            nn.init.normal_(parameter)
            expected[name] = momentum * expected[name] + (1 - momentum) * parameter.detach()
        update_teacher(teacher.parameters(), student.parameters(), momentum)
    for name, parameter in teacher.named_parameters():
        torch.testing.assert_close(parameter, expected[name], atol=1e-6, rtol=0)


def test_the_student_and_buffers_stay(student: Student) -> None:
    teacher = make_teacher(student)
    student(torch.randn(8, 4))  # changes the running statistics of the student
    weights = [parameter.clone() for parameter in student.parameters()]
    buffers = [buffer.clone() for buffer in teacher.buffers()]
    update_teacher(teacher.parameters(), student.parameters(), 0.5)
    assert all(torch.equal(a, b) for a, b in zip(student.parameters(), weights, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(teacher.buffers(), buffers, strict=True))


def test_teacher_is_a_copy_without_gradient_or_dropout(student: Student) -> None:
    teacher = make_teacher(student)
    for own, original in zip(teacher.parameters(), student.parameters(), strict=True):
        assert torch.equal(own, original)
        assert own.data_ptr() != original.data_ptr()
        assert not own.requires_grad
        assert original.requires_grad
    x = torch.randn(16, 4)
    assert torch.equal(teacher.train()(x), teacher(x))
    assert not torch.equal(student.train()(x), student(x)), "the student keeps its dropout"
    assert isinstance(student.body[2], nn.Dropout)
    assert student.body[2].p == 0.5
